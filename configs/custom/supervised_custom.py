# Your COCO-format data: two annotation files, two image folders, a class list.
# docs/custom_dataset.md walks through it.
_base_ = [
    '../_base_/models/mask2former_r50.py',
    '../_base_/datasets/cityscapes_instance.py',
    '../_base_/schedules/cityscapes_90k.py',
]

classes = ('person', 'car', 'bicycle')
data_root = 'data/custom/'
labeled_ann = 'annotations/labeled.json'
val_ann = 'annotations/val.json'
train_images, val_images = 'train/', 'val/'

num_classes = len(classes)
metainfo = dict(classes=classes)
model = dict(
    panoptic_head=dict(
        num_things_classes=num_classes,
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=num_classes),
)
train_dataloader = dict(
    dataset=dict(
        type='CocoDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file=labeled_ann,
        data_prefix=dict(img=train_images),
        pipeline=_base_.visible_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type='CocoDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file=val_ann,
        data_prefix=dict(img=val_images),
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='CocoInstanceMetric',
    ann_file=data_root + val_ann,
    metric='segm',
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
