# Guided Distillation on your COCO-format data; see supervised_custom.py.
_base_ = '../guided_distillation/guided_distillation_cityscapes_10p.py'

classes = ('person', 'car', 'bicycle')
data_root = 'data/custom/'
labeled_ann = 'annotations/labeled.json'
unlabeled_ann = 'annotations/unlabeled.json'
val_ann = 'annotations/val.json'
train_images, val_images = 'train/', 'val/'

num_classes = len(classes)
metainfo = dict(classes=classes)
model = dict(
    detector=dict(
        panoptic_head=dict(
            num_things_classes=num_classes,
            loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
        ),
        panoptic_fusion_head=dict(num_things_classes=num_classes),
    ),
    teacher_checkpoint='work_dirs/supervised_custom',
)
train_dataloader = dict(
    dataset=dict(
        labeled=dict(
            type='CocoDataset',
            metainfo=metainfo,
            data_root=data_root,
            ann_file=labeled_ann,
            data_prefix=dict(img=train_images),
            pipeline=_base_.visible_labeled_pipeline,
        ),
        unlabeled=dict(
            type='CocoDataset',
            metainfo=metainfo,
            data_root=data_root,
            ann_file=unlabeled_ann,
            data_prefix=dict(img=train_images),
        ),
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
default_hooks = dict(checkpoint=dict(save_best='student/coco/segm_mAP'))
