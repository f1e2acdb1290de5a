# A box detector at the size of a demo (0.8 M parameters), from scratch.
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
    bbox_head=dict(
        _delete_=True,
        type='RTMDetSepBNHead',
        num_classes=_base_.num_classes,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=norm_cfg,
        act_cfg=dict(type='SiLU', inplace=True),
        anchor_generator=_base_.model.bbox_head.anchor_generator,
        bbox_coder=_base_.model.bbox_head.bbox_coder,
        loss_cls=_base_.model.bbox_head.loss_cls,
        loss_bbox=_base_.model.bbox_head.loss_bbox,
        with_objectness=False,
    ),
    # Boxes of all classes suppress each other, since an object has one class.
    test_cfg=dict(nms=dict(class_agnostic=True)),
)
# The detector has no mask kernels.
find_unused_parameters = False
