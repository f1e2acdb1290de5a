# Guided Distillation on Nuclei, 4 + 4 images, for any detector.
_base_ = [
    '../datasets/nuclei_semi.py',
    '../schedules/nuclei_240.py',
    './semi_supervised.py',
]

# As on Shapes: a teacher of few images errs more than the papers' teachers,
# whose weight is 2.
semi_model = dict(semi_train_cfg=dict(sup_weight=1.0, unsup_weight=0.5))
val_cfg = dict(type='OnePassTeacherStudentValLoop')
# Five eighths of the run; half-life of the average 7 iterations, 3 % of it.
default_hooks = dict(
    mean_teacher=dict(
        type='BurnInMeanTeacherHook', burn_in=150, momentum=0.09
    ),
    # The unlabelled images have annotations, which show what is wrong.
    drift_log=dict(
        _base_.drift_log,
        monitor='student/coco/segm_mAP',
        ann_file=_base_.data_root + 'annotations/train.json',
        num_images=10,
    ),
)
auto_scale_lr = dict(base_batch_size=8)
