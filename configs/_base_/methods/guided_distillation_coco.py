# Guided Distillation, Mask2Former-R50, 16 + 16 images.
_base_ = [
    '../models/mask2former_r50_coco.py',
    '../datasets/coco_semi.py',
    '../schedules/coco_368k.py',
    './semi_supervised.py',
]

model = dict(
    _base_.semi_model,
    _delete_=True,
    detector=_base_.model,
    data_preprocessor=dict(
        _base_.model.data_preprocessor, type='SemiDataPreprocessor'
    ),
)
train_cfg = dict(val_interval=7000)
val_cfg = dict(type='OnePassTeacherStudentValLoop')
default_hooks = dict(
    mean_teacher=dict(
        type='BurnInMeanTeacherHook', burn_in=20000, momentum=0.0004
    ),
    drift_log=_base_.drift_log,
    checkpoint=dict(interval=7000, save_best='student/coco/segm_mAP'),
)
auto_scale_lr = dict(base_batch_size=32)
