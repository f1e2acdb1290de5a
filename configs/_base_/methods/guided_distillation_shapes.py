# Guided Distillation on Shapes.
_base_ = [
    '../models/mask2former_nano.py',
    '../datasets/shapes_semi.py',
    '../schedules/shapes_800.py',
    './semi_supervised.py',
]

model = dict(
    _base_.semi_model,
    _delete_=True,
    detector=_base_.model,
    data_preprocessor=dict(
        _base_.model.data_preprocessor, type='SemiDataPreprocessor'
    ),
    # The hue depends on the class: the papers' hue and grayscale would erase it.
    strong_augment=dict(type='StrongAugment', hue=0.02, gray_prob=0.0),
    # A teacher of 20 images and 800 steps errs more than the papers' teachers,
    # whose weight is 2 (docs/benchmarks.md).
    semi_train_cfg=dict(sup_weight=1.0, unsup_weight=0.5),
)
# The papers' decay is for 90k iterations, and their student sees two thirds of
# the teacher's labelled images in burn-in. Both are scaled to 800 iterations.
default_hooks = dict(
    mean_teacher=dict(
        type='BurnInMeanTeacherHook', burn_in=500, momentum=0.02
    ),
    # The unlabelled images have annotations, which show what is wrong.
    drift_log=dict(
        _base_.drift_log,
        monitor='student/cityscapes/mAP',
        ann_file=_base_.data_root
        + 'annotations/instancesonly_filtered_gtFine_train.json',
        num_images=25,
    ),
)
val_cfg = dict(type='OnePassTeacherStudentValLoop')
auto_scale_lr = dict(base_batch_size=8)
