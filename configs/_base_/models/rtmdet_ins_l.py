# RTMDet-Ins-l; MMDetection names no ImageNet weights of this size.
_base_ = './rtmdet_ins_s.py'

model = dict(
    backbone=dict(deepen_factor=1.0, widen_factor=1.0, init_cfg=None),
    neck=dict(
        in_channels=[256, 512, 1024], out_channels=256, num_csp_blocks=3
    ),
    bbox_head=dict(in_channels=256, feat_channels=256),
)
