# Stage 1 adds to the teacher that SAM 2's neck and mask decoder train, and
# L_pxl. Values that are assumed, not published, are marked.
adapt = dict(
    # Assumed: the neck and the mask decoder train.
    segmenter=dict(
        frozen=False, trainable=['image_encoder.neck', 'sam_mask_decoder']
    ),
    # Assumed: the masks of the objects' boxes have Mask2Former's losses.
    loss_mask=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
    loss_dice=dict(
        type='DiceLoss', activate=True, naive_dice=True, eps=1.0, loss_weight=5.0
    ),
    # L_pxl uses SAM 2's embedding of stride 16 (assumed: 256 channels, and the
    # student's values) with 512 of 4096 anchors per image.
    loss_contrast=dict(
        type='PixelContrastiveLoss',
        in_channels=256,
        num_negatives=200,
        temperature=(0.3, 0.07),
        schedule_iters=1000,
        anchors_per_image=512,
        loss_weight=0.1,
    ),
    strong_augment=dict(type='StrongAugment'),
)
