# DeiT ViT-B/16, fine-tuned; its file goes to checkpoints/deit_base_patch16_224-b5f2ef4d.pth
# (github.com/facebookresearch/deit).
backbone_cfg = dict(
    backbone=dict(
        _delete_=True,
        type='ViTFeaturePyramid',
        arch='deit_base_patch16_224',
        frozen=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/deit_base_patch16_224-b5f2ef4d.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[256, 256, 256, 256]),
)
