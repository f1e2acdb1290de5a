# SSKD's teacher: MM-Grounding-DINO gives boxes, SAM 2.1 their masks; 8 images.
# As it is, the detector trains alone ('teacher supervised'); what `adapt` adds is
# marked where it is assumed, not published.
_base_ = [
    '../models/mm_grounding_dino_swin_l.py',
    '../schedules/sskd_teacher_1k.py',
    '../segmenters/sam2.1_hiera_large.py',
]

detector = _base_.model
detector.init_cfg = dict(
    type='Pretrained',
    checkpoint='checkpoints/grounding_dino_swin-l_pretrain_all-56d69e78.pth',
)
model = dict(
    _delete_=True,
    type='PromptedDetector',
    detector=detector,
    segmenter=_base_.segmenter,
    data_preprocessor=dict(
        type='SemiDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        pad_mask=True,
    ),
    # The detector sees its own test size, SAM 2 the image itself.
    test_cfg=dict(
        score_thr=0.0, max_per_image=100, detector_scale=(1333, 800)
    ),
)
adapt = dict(
    joint=True,  # labelled and pseudo-labelled images are one set
    # Assumed: the neck and the mask decoder train.
    segmenter=dict(
        frozen=False, trainable=['image_encoder.neck', 'sam_mask_decoder']
    ),
    # Assumed: Mask2Former's losses, for the masks of the objects' boxes.
    loss_mask=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
    loss_dice=dict(
        type='DiceLoss', activate=True, naive_dice=True, eps=1.0, loss_weight=5.0
    ),
    # L_pxl on SAM 2's embedding of stride 16 (assumed: 256 channels, and the
    # student's values); 512 anchors an image, of 4096.
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
