# COCO, labelled images only; the leaf config names the split.
_base_ = './parts.py'

data_root = 'data/coco/'

geometry = [
    _base_.flip,
    # Large-scale jitter: 0.1 to 2.0 times 1024; the model pads.
    dict(
        type='RandomResize',
        scale=(1024, 1024),
        ratio_range=(0.1, 2.0),
        resize_type='ResizeCrop',
        crop_size=(1024, 1024),
    ),
]
steps = [*_base_.load, *geometry]
train_pipeline = [*steps, _base_.pack]
test_pipeline = [
    _base_.test_load,
    dict(
        type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow'
    ),
    *_base_.test_pack,
]

train_dataloader = dict(
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoInstanceMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='segm',
)
test_evaluator = val_evaluator
