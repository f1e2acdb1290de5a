# DINOv2 ViT-S/14, fine-tuned; its file goes to checkpoints/, from
# github.com/facebookresearch/dinov2#pretrained-models.
_base_ = './dinov2_vit_b.py'

backbone_cfg = dict(
    backbone=dict(
        arch='vit_small_patch14_dinov2',
        init_cfg=dict(checkpoint='checkpoints/dinov2_vits14_pretrain.pth'),
    )
)
