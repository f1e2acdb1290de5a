# S4M, stage 1, on Nuclei, with the nano SAM 2.
_base_ = ['./supervised_nuclei.py', '../segmenters/nano_sam2.py']

model = dict(
    type='DistillMask2Former',
    data_preprocessor=dict(type='SemiDataPreprocessor'),
    segmenter=_base_.segmenter,
    loss_distill=dict(type='StructuralDistillationLoss'),
    # The nano SAM 2 has 256 tokens, not 4096.
    points_per_image=32,
)
