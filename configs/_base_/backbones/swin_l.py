# Swin-L, pre-trained on ImageNet-21k at 384 pixels.
backbone_cfg = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        pretrain_img_size=384,
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        drop_path_rate=0.3,
        patch_norm=True,
        convert_weights=True,
        with_cp=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/SwinTransformer/storage/releases/'
            'download/v1.0.0/swin_large_patch4_window12_384_22k.pth',
        ),
    ),
    # As Mask2Former's Swin-L: 200 queries.
    panoptic_head=dict(in_channels=[192, 384, 768, 1536], num_queries=200),
)
