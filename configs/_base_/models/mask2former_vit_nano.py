# SSKD's student at the size of a demo (2.0 M parameters): four blocks of width
# 128, patches of 8 pixels, DPT decoder (memory at strides 16, 8, 4, mask
# features at 2), without batch normalisation in the decoder: with it, 800
# iterations from scratch on 20 images reach half of the AP (docs/sskd.md). It
# starts from weights that this project trained on random scenes.
_base_ = './mask2former_nano.py'

model = dict(
    init_cfg=dict(checkpoint='s4m://vit_nano?queries=20'),
    backbone=dict(
        _delete_=True,
        type='ViTFeaturePyramid',
        arch='vit_tiny_patch16_224',
        vit_cfg=dict(embed_dim=128, num_heads=4, depth=4, patch_size=8),
        out_indices=(0, 1, 2, 3),
        out_channels=(16, 32, 64, 128),
    ),
    panoptic_head=dict(
        in_channels=[16, 32, 64, 128],
        pixel_decoder=dict(
            _delete_=True, type='DPTPixelDecoder', upsample=True
        ),
    ),
)
