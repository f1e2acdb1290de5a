# RTMDet-Ins at the size of a demo, from scratch; it sees BGR.
_base_ = './rtmdet_ins_s.py'

norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(
        deepen_factor=0.167,
        widen_factor=0.25,
        norm_cfg=norm_cfg,
        init_cfg=None,
    ),
    neck=dict(in_channels=[64, 128, 256], out_channels=64, norm_cfg=norm_cfg),
    bbox_head=dict(in_channels=64, feat_channels=64, norm_cfg=norm_cfg),
)
