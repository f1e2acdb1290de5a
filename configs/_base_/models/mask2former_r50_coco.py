# Mask2Former-R50 for the 80 classes of COCO; large-scale jitter fills 1024 x
# 1024 pixels, and the statistics of batch normalisation stay as they are.
_base_ = './mask2former_r50.py'

num_classes = 80
batch_augments = [
    dict(type='BatchFixedSizePad', size=(1024, 1024), pad_mask=True)
]
model = dict(
    data_preprocessor=dict(batch_augments=batch_augments),
    backbone=dict(
        norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True
    ),
    panoptic_head=dict(
        num_things_classes=num_classes,
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=num_classes),
)
