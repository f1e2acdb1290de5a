# Mask2Former with Swin-S, pre-trained on ImageNet-1k at 224 pixels.
_base_ = ['./mask2former_r50.py', '../backbones/swin_s_in1k.py']
model = _base_.backbone_cfg
