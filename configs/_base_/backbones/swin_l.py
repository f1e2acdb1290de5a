# Swin-L, pre-trained on ImageNet-21k at 384 pixels; 200 queries, as
# Mask2Former's Swin-L.
_base_ = './swin_b_in1k.py'

backbone_cfg = dict(
    backbone=dict(
        embed_dims=192,
        num_heads=[6, 12, 24, 48],
        init_cfg=dict(
            checkpoint='https://github.com/SwinTransformer/storage/releases/'
            'download/v1.0.0/swin_large_patch4_window12_384_22k.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[192, 384, 768, 1536], num_queries=200),
)
