# The nano Mask2Former for one class and crowded images.
_base_ = './mask2former_nano.py'

num_classes = 1
# COCO's mAP counts 100 predictions of an image, and few crops have more nuclei.
num_queries = 100
model = dict(
    init_cfg=dict(checkpoint='s4m://mask2former_nano'),
    panoptic_head=dict(
        num_things_classes=num_classes,
        num_queries=num_queries,
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=num_classes),
    test_cfg=dict(max_per_image=num_queries),
)
