# Stages 1a and 1b on Shapes: + L_pxl; the nano SAM 2's neck and mask decoder
# train at a twentieth of the detector's rate.
_base_ = [
    './sskd_teacher_shapes.py',
    './sskd_adapt.py',
    '../datasets/cityscapes_classes.py',
]

model = dict(
    _base_.adapt,
    classes=_base_.classes,
    loss_contrast=dict(
        type='PixelContrastiveLoss',
        in_channels=64,
        num_negatives=64,
        temperature=0.2,
    ),
    # The hue depends on the class: the papers' hue and grayscale would erase it.
    strong_augment=dict(type='StrongAugment', hue=0.02, gray_prob=0.0),
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'segmenter': dict(lr_mult=0.05)})
)
default_hooks = dict(
    contrast_log=dict(type='ContrastiveDiagnosticsHook', interval=20)
)
# SAM 2's decoder has heads that a single mask per box does not use.
find_unused_parameters = True
