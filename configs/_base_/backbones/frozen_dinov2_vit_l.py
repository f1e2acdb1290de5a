# DINOv2 ViT-L/14 as it was loaded; only what follows it trains.
_base_ = './dinov2_vit_l.py'

backbone_cfg = dict(backbone=dict(frozen=True))
