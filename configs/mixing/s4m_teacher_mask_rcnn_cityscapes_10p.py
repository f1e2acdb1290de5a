# S4M's teacher around a Mask R-CNN: the finest map of its neck learns SAM 2's
# structure.
_base_ = './supervised_mask_rcnn_cityscapes_10p.py'

model = dict(
    type='DistillMaskRCNN',
    feature_source='neck',
    feature_index=0,
    segmenter=dict(
        type='SAM2Segmenter',
        config='sam2_hiera_large',
        checkpoint='checkpoints/sam2_hiera_large.pt',
    ),
    loss_distill=dict(type='StructuralDistillationLoss'),
)
