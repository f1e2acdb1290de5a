# Stage 1 of S4M adds structural distillation from SAM 2 to a Mask2Former.
_base_ = '../segmenters/sam2_hiera_large.py'

distill = dict(
    type='DistillMask2Former',
    segmenter=_base_.segmenter,
    loss_distill=dict(
        type='StructuralDistillationLoss', beta=1.0, loss_weight=1.0
    ),
    points_per_image=128,
)
