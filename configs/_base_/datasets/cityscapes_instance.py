# Cityscapes, labelled images only; the leaf config names the split.
_base_ = './parts.py'

data_root = 'data/cityscapes/'
resize_crop = dict(
    type='RandomChoiceResize',
    # Mask2Former's scales: 0.5 to 2.0 times 1024 in steps of 0.1.
    scales=[
        (4096, short)
        for short in (
            512, 614, 716, 819, 921, 1024, 1126, 1228,
            1331, 1433, 1536, 1638, 1740, 1843, 1945, 2048,
        )
    ],
    resize_type='ResizeCrop',
    crop_size=(1024, 512),
    # As in the released code, an object outside the crop stays a target.
    keep_empty=True,
)
geometry = [resize_crop, _base_.flip]
steps = [*_base_.load, *geometry, _base_.colors]
train_pipeline = [*steps, _base_.pack]
# Detectors with boxes and other data sets drop such an object.
visible_crop = dict(resize_crop, keep_empty=False)
visible_steps = [*_base_.load, visible_crop, _base_.flip, _base_.colors]
visible_pipeline = [*visible_steps, _base_.pack]
test_pipeline = [
    _base_.test_load,
    dict(
        type='Resize', scale=(2048, 1024), keep_ratio=True, backend='pillow'
    ),
    *_base_.test_pack,
]

train_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        ann_file='annotations/instancesonly_filtered_gtFine_train.json',
        data_prefix=dict(img='leftImg8bit/train/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        ann_file='annotations/instancesonly_filtered_gtFine_val.json',
        data_prefix=dict(img='leftImg8bit/val/'),
        test_mode=True,
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(
        type='CityscapesInstanceMetric',
        seg_prefix=data_root + 'gtFine/val',
    ),
    dict(
        type='CocoInstanceMetric',
        ann_file=data_root
        + 'annotations/instancesonly_filtered_gtFine_val.json',
        metric='segm',
    ),
]
test_evaluator = val_evaluator
