# Shapes, 4 labelled and 4 pseudo-labelled images per batch, each set drawn
# uniformly: as one set, 20 of 420 images, two of three batches would have no
# labelled one. The leaf config names the file of the pseudo-labels.
_base_ = './shapes_instance.py'

image_root = _base_.data_root + 'leftImg8bit/train/'
labeled_dataset = dict(
    _base_.train_dataloader.dataset,
    pipeline=[*_base_.steps, _base_.pseudo_labeled],
)
pseudo_dataset = dict(
    type=labeled_dataset['type'],
    ann_file='work_dirs/TEACHER/pseudo_labels.json',
    data_prefix=dict(img=image_root),
    filter_cfg=dict(filter_empty_gt=False),
    pipeline=[*_base_.steps, _base_.pseudo_unlabeled],
)
# Detectors with boxes use this pipeline.
visible_pipelines = dict(
    labeled=dict(pipeline=[*_base_.visible_steps, _base_.pseudo_labeled]),
    unlabeled=dict(pipeline=[*_base_.visible_steps, _base_.pseudo_unlabeled]),
)
train_dataloader = dict(
    _base_.semi_dataloader,
    _delete_=True,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_base_.semi_dataloader.sampler, repeat_thr=0.0),
    dataset=dict(
        type='SemiDataset', labeled=labeled_dataset, unlabeled=pseudo_dataset
    ),
)
pseudo_labels = dict(
    image_root=image_root,
    options=_base_.pseudo_options,
    images=_base_.data_root + 'annotations/semi/seed0@5-unlabeled.json',
)
