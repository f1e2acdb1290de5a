# COCO, 4 labelled and 4 unlabelled images per GPU; the leaf config names the
# split. All views of an image share the geometry, none is distorted in colour
# until the student's is augmented on the device.
_base_ = './coco_instance.py'

branches = ['sup', 'unsup_teacher', 'unsup_student']
labeled_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(
        type='MultiBranch',
        branch_field=branches,
        sup=[dict(type='PackDetInputs')],
    ),
]
unlabeled_pipeline = [
    dict(type='LoadCheckedImage'),
    # Masks, though none, for the padding to a fixed size.
    dict(type='LoadEmptyAnnotations', with_mask=True),
    *_base_.geometry,
    dict(
        type='MultiBranch',
        branch_field=branches,
        unsup_teacher=[dict(type='PackDetInputs')],
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
            type='CocoDataset',
            data_root=_base_.data_root,
            ann_file='semi_anns/instances_train2017.1@10-unlabeled.json',
            data_prefix=dict(img='train2017/'),
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=unlabeled_pipeline,
        ),
    ),
)
