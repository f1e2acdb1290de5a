# Cityscapes, labelled and pseudo-labelled images drawn uniformly from one set, 2
# per GPU; the leaf config names the split and the file of the pseudo-labels.
_base_ = './cityscapes_instance.py'

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
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SemiSampler'),
    dataset=dict(
        type='SemiDataset', labeled=labeled_dataset, unlabeled=pseudo_dataset
    ),
)
# How tools/run_experiment.sh makes that file: the teacher's boxes with a score
# above 0.3, at most 100 an image, pixels to the mask with the best score.
pseudo_labels = dict(
    image_root=image_root,
    options=dict(score_thr=0.3, max_per_image=100, non_overlapping=True),
)
