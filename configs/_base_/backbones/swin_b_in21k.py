# Swin-B, pre-trained on ImageNet-21k at 384 pixels.
_base_ = './swin_b_in1k.py'

backbone_cfg = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='https://github.com/SwinTransformer/storage/releases/'
            'download/v1.0.0/swin_base_patch4_window12_384_22k.pth',
        )
    )
)
