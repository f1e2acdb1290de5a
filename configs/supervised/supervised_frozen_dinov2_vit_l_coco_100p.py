_base_ = ['./supervised_coco_100p.py', '../_base_/backbones/frozen_dinov2_vit_l.py']
model = _base_.backbone_cfg
