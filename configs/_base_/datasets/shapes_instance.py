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
# A hue is a class here: it may not be distorted much.
colors = dict(type='SSDColorDistortion', hue_delta=3)
steps = [_base_.flip, colors, _base_.pack]
train_pipeline = [*_base_.load, resize_crop, *steps]
visible_crop = dict(resize_crop, keep_empty=False)
visible_pipeline = [*_base_.load, visible_crop, *steps]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    # Changes nothing, but says so: box detectors want a scale factor.
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=_base_.test_pipeline[-1].meta_keys),
]

# In the main process: the images are small and the demo's cores few.
train_dataloader = dict(
    batch_size=4,
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
        type='CocoMetric',
        ann_file=data_root
        + 'annotations/instancesonly_filtered_gtFine_val.json',
        metric='segm',
    ),
]
test_evaluator = val_evaluator
