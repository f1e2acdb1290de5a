# Shapes, 4 labelled and 4 pseudo-labelled images per batch, each set drawn
# uniformly: as one set, 20 of 420 images, two of three batches would have no
# labelled one. The leaf config names the file of the pseudo-labels.
_base_ = './shapes_instance.py'

branches = ['sup', 'unsup']
steps = _base_.train_pipeline[:-1]
labeled_dataset = _base_.train_dataloader.dataset
labeled_dataset.pipeline = [
    *steps,
    dict(
        type='MultiBranch',
        branch_field=branches,
        sup=[dict(type='PackDetInputs')],
    ),
]
image_root = _base_.data_root + 'leftImg8bit/train/'
pseudo_dataset = dict(
    type=labeled_dataset.type,
    ann_file='work_dirs/TEACHER/pseudo_labels.json',
    data_prefix=dict(img=image_root),
    filter_cfg=dict(filter_empty_gt=False),
    pipeline=[
        *steps,
        dict(
            type='MultiBranch',
            branch_field=branches,
            unsup=[dict(type='PackDetInputs')],
        ),
    ],
)
train_dataloader = dict(
    _delete_=True,
    batch_size=8,
    num_workers=0,
    sampler=dict(
        type='SemiSampler', num_labeled=4, num_unlabeled=4, repeat_thr=0.0
    ),
    dataset=dict(
        type='SemiDataset', labeled=labeled_dataset, unlabeled=pseudo_dataset
    ),
)
# How tools/run_experiment.sh makes that file: the teacher's boxes with a score
# above 0.3, at most 100 an image, pixels to the mask with the best score.
pseudo_labels = dict(
    images=_base_.data_root + 'annotations/semi/seed0@5-unlabeled.json',
    image_root=image_root,
    options=dict(score_thr=0.3, max_per_image=100, non_overlapping=True),
)
