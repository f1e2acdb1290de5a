_base_ = ['./supervised_coco_5p.py', '../_base_/backbones/dinov2_vit_b.py']
model = _base_.backbone_cfg
