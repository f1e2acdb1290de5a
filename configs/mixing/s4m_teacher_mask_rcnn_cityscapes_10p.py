# S4M's teacher around a Mask R-CNN: the finest map of its neck learns SAM 2's
# structure.
_base_ = [
    './supervised_mask_rcnn_cityscapes_10p.py',
    '../_base_/methods/s4m_teacher.py',
]

model = dict(
    _base_.distill,
    type='DistillMaskRCNN',
    feature_source='neck',
    feature_index=0,
)
