# Guided Distillation of a Mask R-CNN. Thresholds are not tuned.
_base_ = [
    '../_base_/models/mask_rcnn_r50.py',
    '../_base_/datasets/cityscapes_semi.py',
    '../_base_/schedules/cityscapes_90k.py',
    '../_base_/splits/cityscapes_10p.py',
]

preprocessor = dict(_base_.model.data_preprocessor)
preprocessor.update(type='SemiDataPreprocessor')
model = dict(
    _delete_=True,
    type='SemiInstanceSegmentor',
    detector=_base_.model,
    data_preprocessor=preprocessor,
    pseudo_labeler=dict(type='PredictionPseudoLabeler', score_thr=0.7),
    strong_augment=dict(type='StrongAugment'),
    teacher_checkpoint='work_dirs/supervised_mask_rcnn_cityscapes_10p',
    semi_train_cfg=dict(sup_weight=1.0, unsup_weight=2.0),
    semi_test_cfg=dict(predict_on='student'),
)
train_dataloader = _base_.semi_split
train_dataloader.dataset.labeled.pipeline = _base_.visible_labeled_pipeline
val_cfg = dict(type='TeacherStudentValLoop')
default_hooks = dict(
    mean_teacher=dict(
        type='BurnInMeanTeacherHook', burn_in=25000, momentum=0.0004
    ),
    checkpoint=dict(save_best='student/cityscapes/mAP'),
)
auto_scale_lr = dict(base_batch_size=32)
