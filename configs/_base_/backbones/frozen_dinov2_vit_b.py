# DINOv2 ViT-B/14 as it was loaded; only what follows it trains.
_base_ = './dinov2_vit_b.py'

backbone_cfg = dict(backbone=dict(frozen=True))
