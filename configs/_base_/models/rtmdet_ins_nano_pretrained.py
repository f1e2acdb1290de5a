# RTMDet-Ins at the size of a demo, for small images and objects: its strides are
# half of RTMDet's. Its backbone is the nano Mask2Former's, with the weights that
# this project trained on random scenes (projects/s4m/assets/README.md); it sees
# RGB.
_base_ = './rtmdet_ins_s.py'

norm_cfg = dict(type='BN')
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
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='s4m://mask2former_nano',
        ),
    ),
    neck=dict(in_channels=[24, 48, 96], out_channels=48, norm_cfg=norm_cfg),
    bbox_head=dict(
        in_channels=48,
        feat_channels=48,
        norm_cfg=norm_cfg,
        anchor_generator=dict(strides=[4, 8, 16]),
    ),
    # Below this score predictions change the AP by less than 0.1 and cost a
    # sixth of a validation (docs/results/nuclei.md).
    test_cfg=dict(score_thr=0.1),
)
