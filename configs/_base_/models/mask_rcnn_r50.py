# MMDetection's Mask R-CNN for the eight instance classes of Cityscapes.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

num_classes = 8
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=num_classes),
        mask_head=dict(num_classes=num_classes),
    )
)
