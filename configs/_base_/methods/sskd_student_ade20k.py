# SSKD's student for ADE20K, labelled images only, 8.
_base_ = [
    '../models/mask2former_dinov2_s_dpt.py',
    '../schedules/cityscapes_90k.py',
]

num_classes = 100
batch_augments = [
    dict(type='BatchFixedSizePad', size=(630, 630), pad_mask=True)
]
model = dict(
    data_preprocessor=dict(batch_augments=batch_augments),
    panoptic_head=dict(
        num_things_classes=num_classes,
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=num_classes),
)
train_cfg = dict(max_iters=160000)
param_scheduler = dict(end=160000)
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
auto_scale_lr = dict(base_batch_size=8)
