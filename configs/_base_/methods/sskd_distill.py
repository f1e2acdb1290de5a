# Stage 2 adds the teacher's pseudo-labels from a file to the student, and L_pxl
# on the coarsest level of the backbone (stride 28).
distill = dict(
    type='ContrastiveMask2Former',
    data_preprocessor=dict(type='SemiDataPreprocessor'),
    semi_weight=1.0,  # lambda_semi (assumed)
    joint=True,  # labelled and pseudo-labelled images are one set
    loss_contrast=dict(
        type='PixelContrastiveLoss',
        in_channels=384,
        hidden_channels=128,
        out_channels=128,
        sampling='fusion',
        num_negatives=200,
        temperature=(0.3, 0.07),
        schedule_iters=90000,
        mask_temperature=0.5,  # assumed
        loss_weight=0.1,  # lambda_pxl
    ),
    strong_augment=dict(type='StrongAugment'),
)
contrast_log = dict(type='ContrastiveDiagnosticsHook', interval=50)
