# DINOv2 ViT-B/14, fine-tuned; its file goes to checkpoints/dinov2_vitb14_pretrain.pth
# (github.com/facebookresearch/dinov2#pretrained-models). Channels, stretching
# and nearest neighbours are the released code's; the paper says bilinear.
channels = [128, 256, 512, 1024]
backbone_cfg = dict(
    backbone=dict(
        _delete_=True,
        type='ViTFeaturePyramid',
        arch='vit_base_patch14_dinov2',
        out_channels=channels,
        resample='nearest',
        fit='stretch',
        frozen=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/dinov2_vitb14_pretrain.pth',
        ),
    ),
    panoptic_head=dict(in_channels=channels),
)
