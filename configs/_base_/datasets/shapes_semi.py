# Shapes, 4 labelled and 4 unlabelled images per batch, with Cityscapes' views.
_base_ = './shapes_instance.py'

branches = ['sup', 'unsup_teacher', 'unsup_student']
pack = [dict(type='PackDetInputs')]
sup = dict(type='MultiBranch', branch_field=branches, sup=pack)
labeled_pipeline = [*_base_.train_pipeline[:-1], sup]
visible_labeled_pipeline = [*_base_.visible_pipeline[:-1], sup]
geometry = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadEmptyAnnotations'),
    _base_.resize_crop,
    _base_.flip,
]
# Guided Distillation: the student augments what the teacher sees.
unlabeled_pipeline = [
    *geometry,
    _base_.colors,
    dict(
        type='MultiBranch',
        branch_field=branches,
        unsup_teacher=pack,
        unsup_student=pack,
    ),
]
# S4M's copy-paste: the student's view starts from the image's own colours.
clean_student_pipeline = [
    *geometry,
    dict(
        type='MultiBranch',
        branch_field=branches,
        unsup_teacher=[_base_.colors, *pack],
        unsup_student=pack,
    ),
]

labeled_dataset = _base_.train_dataloader.dataset
labeled_dataset.pipeline = labeled_pipeline
train_dataloader = dict(
    _delete_=True,
    batch_size=8,
    num_workers=0,
    sampler=dict(
        type='SemiSampler', num_labeled=4, num_unlabeled=4, repeat_thr=10.0
    ),
    dataset=dict(
        type='SemiDataset',
        labeled=labeled_dataset,
        unlabeled=dict(
            type='CityscapesDataset',
            data_root=_base_.data_root,
            ann_file='annotations/semi/seed0@5-unlabeled.json',
            data_prefix=dict(img='leftImg8bit/train/'),
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=unlabeled_pipeline,
        ),
    ),
)
