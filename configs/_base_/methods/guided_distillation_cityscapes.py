# Guided Distillation, Mask2Former-R50. Run it on 4 GPUs: 16 + 16 images.
_base_ = [
    '../models/mask2former_r50.py',
    '../datasets/cityscapes_semi.py',
    '../schedules/cityscapes_90k.py',
]

model = dict(
    _delete_=True,
    type='SemiInstanceSegmentor',
    detector=_base_.model,
    data_preprocessor=dict(
        type='SemiDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        pad_size_divisor=32,
        pad_mask=True,
    ),
    pseudo_labeler=dict(type='QueryPseudoLabeler', cls_thr=0.7, size_thr=5.0),
    strong_augment=dict(type='StrongAugment'),
    semi_train_cfg=dict(sup_weight=1.0, unsup_weight=2.0),
    semi_test_cfg=dict(predict_on='student'),
)
val_cfg = dict(type='TeacherStudentValLoop')
default_hooks = dict(
    mean_teacher=dict(
        type='BurnInMeanTeacherHook', burn_in=15000, momentum=0.0004
    ),
    checkpoint=dict(save_best='student/cityscapes/mAP'),
)
auto_scale_lr = dict(base_batch_size=32)
