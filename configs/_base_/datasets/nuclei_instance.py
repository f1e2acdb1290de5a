# Nuclei, the microscopy images of examples/nuclei: the 6 labelled ones.
_base_ = './parts.py'

data_root = 'examples/nuclei/'
classes = ('nucleus',)
resize_crop = dict(
    type='RandomChoiceResize',
    # 0.75 to 1.5 times the size of most images. No crop is smaller
    # than its size, and large images, whose nuclei are large, shrink more.
    scales=[(4096, short) for short in (192, 224, 256, 320, 384)],
    resize_type='ResizeCrop',
    crop_size=(128, 128),
    # Most of an image's nuclei are outside the crop: as targets they would take
    # the queries of the visible ones.
    keep_empty=False,
)
geometry = [resize_crop, _base_.flip]
steps = [*_base_.load, *geometry, _base_.colors]
train_pipeline = [*steps, _base_.pack]

# The main process loads the small images, since the bed is for few cores.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='CocoDataset',
        metainfo=dict(classes=classes),
        data_root=data_root,
        ann_file='annotations/labeled_6.json',
        data_prefix=dict(img='images/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='CocoDataset',
        metainfo=dict(classes=classes),
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=_base_.own_size_pipeline,
    ),
)
test_dataloader = val_dataloader

# MMDet's `proposal_nums`, (100, 300, 1000): mAP counts the 100 best predictions of
# an image, as COCO does everywhere, AP50, AP75 and the AP by size 1000. Three of
# the 21 images have more nuclei (115, 129, 249), so that 193 of 1122 cannot count
# and mAP ends at 83; AP50 and AP75 have no such limit.
val_evaluator = dict(
    type='CocoInstanceMetric',
    ann_file=data_root + 'annotations/val.json',
    metric='segm',
)
test_evaluator = val_evaluator
