# COCO, 4 labelled and 4 unlabelled images per GPU; the leaf config names the
# split. All views of an image share the geometry. Only the student's view is
# distorted in colour, by the augmentation on the device.
_base_ = './coco_instance.py'

labeled_dataset = dict(
    _base_.train_dataloader.dataset,
    pipeline=[*_base_.steps, _base_.semi_labeled],
)
unlabeled_pipeline = [
    dict(type='LoadCheckedImage'),
    # The padding to a fixed size requires masks, also an empty list.
    dict(type='LoadEmptyAnnotations', with_mask=True),
    *_base_.geometry,
    _base_.semi_unlabeled,
]
train_dataloader = dict(
    _base_.semi_dataloader,
    _delete_=True,
    dataset=dict(
        type='SemiDataset',
        labeled=labeled_dataset,
        unlabeled=dict(
            labeled_dataset,
            ann_file='semi_anns/instances_train2017.1@10-unlabeled.json',
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=unlabeled_pipeline,
        ),
    ),
)
