# Cityscapes, labelled images only; the leaf config names the split.
data_root = 'data/cityscapes/'

train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    # Mask2Former's scales: 0.5 to 2.0 times 1024 in steps of 0.1.
    dict(
        type='RandomChoiceResize',
        scales=[
            (4096, short)
            for short in (
                512, 614, 716, 819, 921, 1024, 1126, 1228,
                1331, 1433, 1536, 1638, 1740, 1843, 1945, 2048,
            )
        ],
        keep_ratio=True,
    ),
    dict(
        type='RandomCrop',
        crop_size=(1024, 512),
        allow_negative_crop=True,
        recompute_bbox=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='SSDColorDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 1024), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
        ),
    ),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler'),
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
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
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
        type='CocoMetric',
        ann_file=data_root
        + 'annotations/instancesonly_filtered_gtFine_val.json',
        metric='segm',
    ),
]
test_evaluator = val_evaluator
