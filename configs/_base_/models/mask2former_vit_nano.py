# SSKD's student at the size of a demo: a ViT-tiny of four blocks, DPT decoder,
# trained from scratch.
_base_ = './mask2former_nano.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ViTFeaturePyramid',
        arch='vit_tiny_patch16_224',
        vit_cfg=dict(depth=4),
        out_indices=(0, 1, 2, 3),
        out_channels=(24, 48, 96, 192),
        strides=(4, 8, 16, 32),
        resample='conv',
    ),
    panoptic_head=dict(
        in_channels=[24, 48, 96, 192],
        pixel_decoder=dict(_delete_=True, type='DPTPixelDecoder'),
    ),
)
