_base_ = ['./supervised_coco_2p.py', '../_base_/backbones/swin_b_in1k.py']
model = _base_.backbone_cfg
