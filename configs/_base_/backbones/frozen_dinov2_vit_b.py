# The DINOv2 ViT-B/14 is frozen; only the layers after it train.
_base_ = './dinov2_vit_b.py'

backbone_cfg = dict(backbone=dict(frozen=True))
