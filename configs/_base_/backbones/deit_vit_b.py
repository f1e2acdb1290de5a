# DeiT ViT-B/16 of 384 pixels, fine-tuned; its file goes to checkpoints/, from
# github.com/facebookresearch/deit.
_base_ = './dinov2_vit_b.py'

backbone_cfg = dict(
    backbone=dict(
        arch='deit_base_patch16_384',
        init_cfg=dict(
            checkpoint='checkpoints/deit_base_patch16_384-8de9b5d1.pth'
        ),
    )
)
