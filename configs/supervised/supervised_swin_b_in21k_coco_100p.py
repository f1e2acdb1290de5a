_base_ = ['./supervised_coco_100p.py', '../_base_/backbones/swin_b_in21k.py']
model = _base_.backbone_cfg
