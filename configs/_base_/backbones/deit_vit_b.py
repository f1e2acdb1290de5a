# DeiT ViT-B/16, fine-tuned; its file goes to checkpoints/, from
# github.com/facebookresearch/deit.
_base_ = './dinov2_vit_b.py'

backbone_cfg = dict(
    backbone=dict(
        arch='deit_base_patch16_224',
        init_cfg=dict(
            checkpoint='checkpoints/deit_base_patch16_224-b5f2ef4d.pth'
        ),
    )
)
