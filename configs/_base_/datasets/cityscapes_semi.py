# Cityscapes, 4 labelled and 4 unlabelled images per GPU; the leaf config
# names the split. Labelled and unlabelled views share the geometry; teacher's
# view and labelled images are distorted in colour, the student's view is
# clean until it is augmented on the device.
_base_ = './cityscapes_instance.py'

branches = ['sup', 'unsup_teacher', 'unsup_student']
geometry = _base_.train_pipeline[2:5]
labeled_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    *geometry,
    dict(type='SSDColorDistortion'),
    dict(
        type='MultiBranch',
        branch_field=branches,
        sup=[dict(type='PackDetInputs')],
    ),
]
unlabeled_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadEmptyAnnotations'),
    *geometry,
    dict(
        type='MultiBranch',
        branch_field=branches,
        unsup_teacher=[
            dict(type='SSDColorDistortion'),
            dict(type='PackDetInputs'),
        ],
        unsup_student=[dict(type='PackDetInputs')],
    ),
]

labeled_dataset = _base_.train_dataloader.dataset
labeled_dataset.pipeline = labeled_pipeline
train_dataloader = dict(
    _delete_=True,
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(
        type='SemiSampler', num_labeled=4, num_unlabeled=4, repeat_thr=10.0
    ),
    dataset=dict(
        type='SemiDataset',
        labeled=labeled_dataset,
        unlabeled=dict(
            type='CityscapesDataset',
            data_root=_base_.data_root,
            ann_file='annotations/semi/published@10-unlabeled.json',
            data_prefix=dict(img='leftImg8bit/train/'),
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=unlabeled_pipeline,
        ),
    ),
)
