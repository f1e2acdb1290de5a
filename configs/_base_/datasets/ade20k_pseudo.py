# ADE20K, labelled and pseudo-labelled images drawn uniformly from one set, 2
# per GPU; the leaf config names the split and the file of the pseudo-labels.
_base_ = './ade20k_instance.py'

image_root = _base_.data_root + 'images/training/'
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
    _base_.pseudo_dataloader,
    _delete_=True,
    dataset=dict(
        type='SemiDataset', labeled=labeled_dataset, unlabeled=pseudo_dataset
    ),
)
pseudo_labels = dict(image_root=image_root, options=_base_.pseudo_options)
