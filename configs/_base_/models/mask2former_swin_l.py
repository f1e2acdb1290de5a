# Mask2Former with Swin-L, pre-trained on ImageNet-21k at 384 pixels.
_base_ = ['./mask2former_r50.py', '../backbones/swin_l.py']
model = _base_.backbone_cfg
