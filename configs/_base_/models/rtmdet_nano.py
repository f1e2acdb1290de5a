# The box detector of the nano RTMDet-Ins (0.8 M parameters).
_base_ = './rtmdet_ins_nano.py'

model = dict(
    bbox_head=dict(
        _delete_=True,
        type='RTMDetSepBNHead',
        num_classes=_base_.num_classes,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=_base_.norm_cfg,
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
