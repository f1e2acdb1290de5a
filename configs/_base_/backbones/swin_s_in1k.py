# Swin-S, pre-trained on ImageNet-1k at 224 pixels.
_base_ = './swin_b_in1k.py'

backbone_cfg = dict(
    backbone=dict(
        pretrain_img_size=224,
        embed_dims=96,
        num_heads=[3, 6, 12, 24],
        window_size=7,
        init_cfg=dict(
            checkpoint='https://github.com/SwinTransformer/storage/releases/'
            'download/v1.0.0/swin_small_patch4_window7_224.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[96, 192, 384, 768]),
)
