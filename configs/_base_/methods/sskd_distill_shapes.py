# Stage 2 on Shapes has labels, pseudo-labels from a file, and L_pxl on the
# backbone's level of stride 16 (stride 32 would have only 4 x 8 pixels).
_base_ = './sskd_student_shapes.py'

model = dict(
    type='ContrastiveMask2Former',
    data_preprocessor=dict(type='SemiDataPreprocessor'),
    semi_weight=1.0,
    feature_level=2,
    # The temperature is constant, since 800 iterations are few.
    loss_contrast=dict(
        type='PixelContrastiveLoss',
        in_channels=64,
        num_negatives=64,
        temperature=0.2,
    ),
    # The hue depends on the class: the papers' hue and grayscale would erase it.
    strong_augment=dict(type='StrongAugment', hue=0.02, gray_prob=0.0),
)
default_hooks = dict(
    contrast_log=dict(type='ContrastiveDiagnosticsHook', interval=20)
)
auto_scale_lr = dict(base_batch_size=8)
