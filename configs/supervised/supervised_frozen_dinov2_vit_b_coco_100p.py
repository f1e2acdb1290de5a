_base_ = ['./supervised_coco_100p.py', '../_base_/backbones/frozen_dinov2_vit_b.py']
model = _base_.backbone_cfg
