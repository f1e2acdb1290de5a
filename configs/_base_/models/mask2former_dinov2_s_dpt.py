# SSKD's student: DINOv2 ViT-S/14, DPT decoder, Mask2Former's transformer
# decoder. The weights go to checkpoints/, from
# github.com/facebookresearch/dinov2#pretrained-models.
_base_ = './mask2former_r50.py'

# Memory at strides 14, 7, 3.5, mask features at 1.75, batch normalisation, as
# in the authors' research code; the channels are assumed.
channels = (48, 96, 192, 384)
model = dict(
    data_preprocessor=dict(pad_size_divisor=14),
    backbone=dict(
        _delete_=True,
        type='ViTFeaturePyramid',
        arch='vit_small_patch14_dinov2',
        out_indices=(2, 5, 8, 11),
        out_channels=channels,
        strides=(3.5, 7, 14, 28),
        resample='conv',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/dinov2_vits14_pretrain.pth',
        ),
    ),
    panoptic_head=dict(
        in_channels=channels,
        strides=[3.5, 7, 14, 28],
        pixel_decoder=dict(
            _delete_=True,
            type='DPTPixelDecoder',
            upsample=True,
            norm_cfg=dict(type='BN'),
        ),
    ),
)
