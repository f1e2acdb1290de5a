_base_ = ['./supervised_coco_5p.py', '../_base_/backbones/swin_l.py']
model = _base_.backbone_cfg
