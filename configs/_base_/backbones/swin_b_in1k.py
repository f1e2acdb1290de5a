# Swin-B, pre-trained on ImageNet-1k at 384 pixels.
backbone_cfg = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        pretrain_img_size=384,
        embed_dims=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=12,
        drop_path_rate=0.3,
        patch_norm=True,
        convert_weights=True,
        with_cp=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/SwinTransformer/storage/releases/'
            'download/v1.0.0/swin_base_patch4_window12_384.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[128, 256, 512, 1024]),
)
