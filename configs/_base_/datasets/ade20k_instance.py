# ADE20K's 100 instance classes, labelled images only; the leaf config names
# the split. Made by tools/dataset_converters/ade20k.py.
_base_ = './parts.py'

data_root = 'data/ADEChallengeData2016/'
resize_crop = dict(
    type='RandomChoiceResize',
    # 0.5 to 2.0 times 630 in steps of 0.1; the model pads to 630 x 630.
    scales=[
        (2520, short)
        for short in (
            315, 378, 441, 504, 567, 630, 693, 756,
            819, 882, 945, 1008, 1071, 1134, 1197, 1260,
        )
    ],
    resize_type='ResizeCrop',
    crop_size=(630, 630),
    # Assumed: as on Cityscapes, an object outside the crop stays a target.
    keep_empty=True,
)
geometry = [resize_crop, _base_.flip]
steps = [*_base_.load, *geometry, _base_.colors]
train_pipeline = [*steps, _base_.pack]
# Detectors with boxes drop such an object.
visible_crop = dict(resize_crop, keep_empty=False)
visible_steps = [*_base_.load, visible_crop, _base_.flip, _base_.colors]
visible_pipeline = [*visible_steps, _base_.pack]
test_pipeline = [
    _base_.test_load,
    dict(
        type='Resize', scale=(2520, 630), keep_ratio=True, backend='pillow'
    ),
    *_base_.test_pack,
]

train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type='ADE20KInstanceDataset',
        data_root=data_root,
        ann_file='ade20k_instance_train.json',
        data_prefix=dict(img='images/training/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='ADE20KInstanceDataset',
        data_root=data_root,
        ann_file='ade20k_instance_val.json',
        data_prefix=dict(img='images/validation/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoInstanceMetric',
    ann_file=data_root + 'ade20k_instance_val.json',
    metric='segm',
)
test_evaluator = val_evaluator
