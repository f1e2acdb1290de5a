# Shapes, Cityscapes' pipeline at an eighth of its size.
_base_ = './cityscapes_instance.py'

data_root = 'data/shapes/'
resize_crop = dict(
    type='RandomChoiceResize',
    scales=[(512, short) for short in (128, 144, 160, 176, 192, 224)],
    resize_type='ResizeCrop',
    crop_size=(256, 128),
    keep_empty=True,
)
# The hue depends on the class, so it is distorted little.
colors = dict(type='SSDColorDistortion', hue_delta=3)
geometry = [resize_crop, _base_.flip]
steps = [*_base_.load, *geometry, colors]
train_pipeline = [*steps, _base_.pack]
visible_crop = dict(resize_crop, keep_empty=False)
visible_steps = [*_base_.load, visible_crop, _base_.flip, colors]
visible_pipeline = [*visible_steps, _base_.pack]
test_pipeline = _base_.own_size_pipeline

# The main process loads the small images, since the demo has few cores.
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/semi/seed0@5.json',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(
        type='CityscapesInstanceMetric', seg_prefix=data_root + 'gtFine/val'
    ),
    dict(
        type='CocoInstanceMetric',
        ann_file=data_root
        + 'annotations/instancesonly_filtered_gtFine_val.json',
        metric='segm',
    ),
]
test_evaluator = val_evaluator
