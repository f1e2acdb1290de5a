# S4M, stage 1, on Shapes, with the nano SAM 2.
_base_ = './supervised_shapes_5p.py'

model = dict(
    type='DistillMask2Former',
    segmenter=dict(
        type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2'
    ),
    loss_distill=dict(type='StructuralDistillationLoss'),
    # The nano SAM 2 has 256 tokens, not 4096.
    num_points=32,
)
