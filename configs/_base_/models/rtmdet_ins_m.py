# RTMDet-Ins-m; MMDetection names no ImageNet weights of this size.
_base_ = './rtmdet_ins_s.py'

model = dict(
    backbone=dict(deepen_factor=0.67, widen_factor=0.75, init_cfg=None),
    neck=dict(
        in_channels=[192, 384, 768], out_channels=192, num_csp_blocks=2
    ),
    bbox_head=dict(in_channels=192, feat_channels=192),
)
