# SSKD's student at the size of a demo: the width of a ViT-tiny, four blocks,
# patches of 8 pixels, DPT decoder (memory at strides 16, 8, 4, mask features
# at 2); trained from scratch, without batch normalisation in the decoder: with
# it 800 iterations on 20 images reach half of the AP (docs/sskd.md).
_base_ = './mask2former_nano.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ViTFeaturePyramid',
        arch='vit_tiny_patch16_224',
        vit_cfg=dict(depth=4, patch_size=8),
        out_indices=(0, 1, 2, 3),
        out_channels=(24, 48, 96, 192),
    ),
    panoptic_head=dict(
        in_channels=[24, 48, 96, 192],
        pixel_decoder=dict(
            _delete_=True, type='DPTPixelDecoder', upsample=True
        ),
    ),
)
