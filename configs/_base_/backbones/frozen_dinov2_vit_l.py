# The DINOv2 ViT-L/14 is frozen; only the layers after it train.
_base_ = './dinov2_vit_l.py'

backbone_cfg = dict(backbone=dict(frozen=True))
