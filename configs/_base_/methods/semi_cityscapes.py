# Guided Distillation on Cityscapes, 16 + 16 images, for any detector.
_base_ = [
    '../datasets/cityscapes_semi.py',
    '../schedules/cityscapes_90k.py',
    './semi_supervised.py',
]

val_cfg = dict(type='OnePassTeacherStudentValLoop')
default_hooks = dict(
    mean_teacher=dict(
        type='BurnInMeanTeacherHook', burn_in=15000, momentum=0.0004
    ),
    drift_log=_base_.drift_log,
    checkpoint=dict(save_best='student/cityscapes/mAP'),
)
auto_scale_lr = dict(base_batch_size=32)
