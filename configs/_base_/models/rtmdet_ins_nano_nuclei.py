# A nano RTMDet-Ins for one class and many small objects. Its strides are half of
# RTMDet's, since most nuclei are smaller than 20 pixels. Its backbone is the nano
# Mask2Former's, with the weights that this project trained on random scenes
# (projects/s4m/assets/README.md); it sees RGB.
_base_ = './rtmdet_ins_nano.py'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        base_channels=24,
        out_indices=(0, 1, 2),
        frozen_stages=-1,
        norm_cfg=_base_.norm_cfg,
        norm_eval=False,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='s4m://mask2former_nano',
        ),
    ),
    neck=dict(in_channels=[24, 48, 96], out_channels=48),
    bbox_head=dict(
        num_classes=1,
        in_channels=48,
        feat_channels=48,
        anchor_generator=dict(strides=[4, 8, 16]),
    ),
    # An image of Nuclei has up to 329 objects. Below a score of 0.1, predictions
    # change the AP by less than 0.1 and cost a sixth of a validation.
    test_cfg=dict(score_thr=0.1, max_per_img=300),
)
# Mask2Former's clipping is for its own losses.
rtmdet_optim = dict(
    optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=35.0)
)
