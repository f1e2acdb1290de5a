# SPDX-License-Identifier: Apache-2.0
"""Every published constant, with its source, for every config.

A row holds for the configs whose path matches one of its patterns; a later row
overrides an earlier one. ``test_published_constants.py`` wants every constant
of every config to be here, and no other.

Sources: "GD" is Guided Distillation (arXiv 2308.02668), "S4M" arXiv
2504.05301, "SSKD" arXiv 2604.03841; "code" what the authors released,
"Mask2Former" its released configs, which GD and S4M build on; "here" is a
choice of this project.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Row(NamedTuple):
    """Constants of some configs."""

    #: ``fnmatch`` patterns of paths below ``configs/``, without ``.py``.
    configs: tuple[str, ...]
    source: str
    constants: dict[str, Any]


SUPERVISED = ('supervised/*',)
TEACHER = ('s4m_teacher_*', 's4m/s4m_teacher_*', 'mixing/s4m_teacher_*')
#: Guided Distillation's Table 4 and Figure 6.
_STRATEGY = 'guided_distillation/guided_distillation_'
STRATEGIES = tuple(
    f'{_STRATEGY}{name}_'
    for name in (
        *('no_burn_in', 'fixed_teacher', 'standard'),
        *('same_views', 'cutout'),
    )
)
#: S4M's rows on Shapes that refine, and all of them that learn from a teacher.
_S4M_REFINED = ('s4m/s4m_shapes_*', 's4m/s4m_pr_*', 's4m/s4m_in_mask_*')
_S4M_SHAPES = (*_S4M_REFINED, 's4m/s4m_arp_*', 's4m/s4m_sd_*')
MIXING = ('mixing/*mask_rcnn*', 'mixing/*rtmdet*', 'mixing/*maskformer*')
#: S4M's rows on Nuclei that refine.
_NUCLEI_REFINED = ('s4m/s4m_nuclei_*', 'mixing/s4m_pr_*')
MIXING_STUDENT = (
    'mixing/guided_distillation_*',
    'mixing/s4m_mask_rcnn_*',
    _NUCLEI_REFINED[1],
)
#: Teacher, student and unlabelled images.
STUDENT = (
    'guided_distillation/*',
    's4m_cityscapes_*',
    's4m_coco_*',
    *_S4M_SHAPES,
    _NUCLEI_REFINED[0],
    *MIXING_STUDENT,
)
#: Those of them that refine with SAM 2, and that paste.
REFINED = (
    's4m_cityscapes_*',
    's4m_coco_*',
    *_S4M_REFINED,
    *_NUCLEI_REFINED,
    'mixing/s4m_mask_rcnn_*',
)
PASTED = ('s4m_cityscapes_*', 's4m_coco_*', *REFINED[-1:])
CUTOUT = (f'{_STRATEGY}cutout_*',)

_CITYSCAPES_SCALES = [
    [4096, short]
    for short in (
        *(512, 614, 716, 819, 921, 1024, 1126, 1228),
        *(1331, 1433, 1536, 1638, 1740, 1843, 1945, 2048),
    )
]
#: Mask2Former: embeddings have no decay, Swin's learn as its backbone.
_EMBEDDINGS = dict(
    absolute_pos_embed=dict(lr_mult=0.1, decay_mult=0),
    relative_position_bias_table=dict(lr_mult=0.1, decay_mult=0),
    query_embed=dict(decay_mult=0),
    query_feat=dict(decay_mult=0),
    level_embed=dict(decay_mult=0),
)
_MASK2FORMER = dict(
    num_queries=100,
    decoder_layers=9,
    no_object_weight=0.1,
    loss_weights=[2, 5, 5],
    cost_weights=[2, 5, 5],
    loss_num_points=12544,
    loss_oversample_ratio=3,
    loss_importance_sample_ratio=0.75,
    max_per_image=100,
)
#: Rows with a Mask2Former-R50.
_R50 = (
    'supervised/supervised_cityscapes_*',
    'supervised/supervised_coco_*',
    'guided_distillation/guided_distillation_cityscapes_*',
    'guided_distillation/guided_distillation_coco_*',
    *(f'{s}cityscapes_*' for s in STRATEGIES),
    's4m_*',
)

#: SSKD on Shapes: terms of the objective and other negatives.
SSKD_TERMS = tuple(
    f'sskd/sskd_{name}_shapes_*'
    for name in (
        *('semi', 'sup_semi', 'sup_pxl'),
        *('uniform', 'mask', 'class'),
    )
)
NUCLEI_MASK2FORMER = (
    'supervised/*nuclei_*',
    'guided_distillation/*nuclei_*',
    's4m/*nuclei_*',
)
NUCLEI_STUDENT = (
    'guided_distillation/*nuclei_*',
    'mixing/guided_distillation_*nuclei_*',
    *_NUCLEI_REFINED,
)
#: Rows of Shapes and Nuclei with a Mask2Former.
_NANO = (
    'supervised/*shapes_*',
    'guided_distillation/*shapes_*',
    's4m/*shapes_*',
    *NUCLEI_MASK2FORMER,
    *SSKD_TERMS,
    *(f'sskd/sskd_{k}_shapes_*' for k in ('student_supervised', 'distill')),
    'sskd/sskd_refine_shapes_*',
)
SHAPES_STUDENT = (
    'guided_distillation/*shapes_*',
    *_S4M_SHAPES,
)

SSKD_STUDENT = (
    *('sskd/sskd_student_*', 'sskd/sskd_distill_*', 'sskd/sskd_refine_*'),
    *SSKD_TERMS,
)
SSKD_PSEUDO = (
    *('sskd/sskd_teacher_selftrain_*', 'sskd/sskd_distill_*'),
    *SSKD_TERMS,
)
SSKD_CONTRAST = ('sskd/sskd_teacher_adapt_*', *SSKD_PSEUDO)

TABLE = [
    # ------------------------------------------------------------ training
    Row(
        ('*',),
        'GD section 4.1 (AdamW 1e-4, 0.05, backbone x 0.1); Mask2Former '
        '(clip, poly 0.9 without warm-up, no decay of norms)',
        dict(
            optimizer='AdamW',
            lr=1e-4,
            weight_decay=0.05,
            clip=0.01,
            clip_norm=2,
            backbone_lr_mult=0.1,
            norm_decay_mult=0,
            other_groups=_EMBEDDINGS,
            accumulation=1,
            # ImageNet's, in RGB.
            pixel_mean=[123.675, 116.28, 103.53],
            pixel_std=[58.395, 57.12, 57.375],
            size_divisor=32,
            warm_up=0,
            schedule='PolyLR',
            power=0.9,
            eta_min=0,
            iterations=90000,
            decay_ends=90000,
            val_interval=5000,
            checkpoint_interval=5000,
            labeled_batch=16,
            unlabeled_batch=0,
            base_batch_size=16,
        ),
    ),
    Row(
        ('s4m_teacher_cityscapes_*',),
        'S4M code: the teacher alone has a batch of 4',
        dict(labeled_batch=4, base_batch_size=4),
    ),
    Row(
        STUDENT,
        'GD section 4.1, S4M code: 16 labelled and 16 unlabelled images',
        dict(unlabeled_batch=16, base_batch_size=32),
    ),
    Row(
        ('*coco_1p', '*coco_2p', '*coco_5p', '*coco_10p', '*coco_100p'),
        'GD section 4.1 (368k); Mask2Former (milestones)',
        dict(
            schedule='MultiStepLR',
            milestones=[327778, 355092],
            gamma=0.1,
            iterations=368750,
            decay_ends=368750,
            power=None,
            eta_min=None,
        ),
    ),
    Row(
        ('guided_distillation/*coco_*', 's4m_coco_*'),
        'S4M code: evaluation and checkpoint every 7000',
        dict(val_interval=7000, checkpoint_interval=7000),
    ),
    Row(
        ('s4m_coco_*',),
        'S4M code: 12 labelled and 12 unlabelled images',
        dict(labeled_batch=12, unlabeled_batch=12, base_batch_size=24),
    ),
    Row(
        ('guided_distillation/*cityscapes_100p', 's4m_cityscapes_100p'),
        'GD section 4.1: double the training length; here for S4M',
        dict(iterations=180000, decay_ends=180000),
    ),
    # ---------------------------------------------------------- Mask2Former
    Row(
        (
            *SUPERVISED,
            's4m_*',
            *STUDENT[:1],
        ),
        'Mask2Former: losses, matching, queries',
        _MASK2FORMER,
    ),
    Row(
        ('*cityscapes_*',),
        'Cityscapes: eight instance classes',
        dict(num_classes=8),
    ),
    Row(('*coco_*',), 'COCO: 80 classes', dict(num_classes=80)),
    Row(
        _R50,
        'GD section 4.1: ImageNet-1k; Mask2Former: SyncBN trains on '
        'Cityscapes',
        dict(
            backbone='ResNet',
            depth=50,
            frozen_stages=-1,
            pretrained='torchvision://resnet50',
            backbone_norm='SyncBN',
            backbone_norm_trains=True,
            backbone_norm_eval=False,
        ),
    ),
    Row(
        (
            'supervised/supervised_coco_*',
            'guided_distillation/guided_distillation_coco_*',
            's4m_coco_*',
            's4m_teacher_coco_*',
        ),
        'Mask2Former: frozen batch norm on COCO',
        dict(
            backbone_norm='BN',
            backbone_norm_trains=False,
            backbone_norm_eval=True,
        ),
    ),
    Row(
        ('*_swin_b_in1k_*', '*_swin_b_in21k_*', '*_swin_l_*'),
        'Mask2Former: Swin at 384 pixels, drop path 0.3',
        dict(backbone='SwinTransformer', drop_path=0.3, window=12),
    ),
    Row(
        ('*_swin_l_*',),
        'GD section 4.1 (ImageNet-21k); Mask2Former (200 queries)',
        dict(
            num_queries=200,
            pretrained='https://github.com/SwinTransformer/storage/releases/'
            'download/v1.0.0/swin_large_patch4_window12_384_22k.pth',
        ),
    ),
    Row(
        ('*_swin_b_in1k_*',),
        'GD Table 6',
        dict(
            pretrained='https://github.com/SwinTransformer/storage/releases/'
            'download/v1.0.0/swin_base_patch4_window12_384.pth'
        ),
    ),
    Row(
        ('*_swin_b_in21k_*',),
        'GD Table 6',
        dict(
            pretrained='https://github.com/SwinTransformer/storage/releases/'
            'download/v1.0.0/swin_base_patch4_window12_384_22k.pth'
        ),
    ),
    Row(
        ('*_dinov2_*', '*_deit_*'),
        'GD code: channels, stretching, nearest tokens; the paper says '
        'bilinear',
        dict(
            backbone='ViTFeaturePyramid',
            strides=[4, 8, 16, 32],
            out_channels=[128, 256, 512, 1024],
            out_indices=None,
            resample='nearest',
            fit='stretch',
            frozen=False,
            vit_cfg=None,
        ),
    ),
    Row(
        ('*_dinov2_vit_b_*',),
        'GD section 4.1: DINOv2 ViT-B/14',
        dict(
            arch='vit_base_patch14_dinov2',
            pretrained='checkpoints/dinov2_vitb14_pretrain.pth',
        ),
    ),
    Row(
        ('*_dinov2_vit_l_*',),
        'GD section 4.1: DINOv2 ViT-L/14',
        dict(
            arch='vit_large_patch14_dinov2',
            pretrained='checkpoints/dinov2_vitl14_pretrain.pth',
        ),
    ),
    Row(('*_frozen_dinov2_*',), 'GD Table 7', dict(frozen=True)),
    Row(
        ('*_deit_vit_b_*',),
        'GD code: DeiT-B/16 of 384 pixels',
        dict(
            arch='deit_base_patch16_384',
            pretrained='checkpoints/deit_base_patch16_384-8de9b5d1.pth',
        ),
    ),
    # ----------------------------------------------------------------- data
    Row(
        ('*cityscapes*',),
        'Mask2Former: Cityscapes, 512 x 1024 crops of 0.5 to 2.0 times 1024',
        dict(
            crop=[1024, 512],
            scales=_CITYSCAPES_SCALES,
            labeled_colors=[32, [0.5, 1.5], [0.5, 1.5], 18],
            test_scale=[2048, 1024],
            metrics=['CityscapesInstanceMetric', 'CocoInstanceMetric'],
        ),
    ),
    Row(
        ('*coco_*',),
        'Mask2Former: large-scale jitter 0.1 to 2.0 of 1024, test 800/1333',
        dict(
            crop=[1024, 1024],
            scale=[1024, 1024],
            scale_range=[0.1, 2.0],
            labeled_colors=None,
            test_scale=[1333, 800],
            metrics=['CocoInstanceMetric'],
        ),
    ),
    Row(
        ('*',),
        'detectron2: Pillow, bilinear, with the aspect ratio; flip',
        dict(
            backend='pillow',
            interpolation='bilinear',
            keep_ratio=True,
            flip=0.5,
            test_backend='pillow',
        ),
    ),
    Row(
        ('*cityscapes_*',),
        'GD and S4M code: an object that the crop cut away stays a target',
        dict(kept='all objects'),
    ),
    Row(
        (*MIXING, 'sskd/*teacher*'),
        'here: other detectors and data drop it',
        dict(kept='visible objects'),
    ),
    Row(
        ('*coco_*',),
        'GD code: objects without a pixel are filtered',
        dict(kept='visible objects'),
    ),
    Row(
        STUDENT,
        'GD and S4M code: repeat factor sampling',
        dict(repeat_thr=10),
    ),
    *(
        Row(
            (f'*cityscapes_{p}p',),
            'GD and S4M code: published lists',
            dict(labeled_file=f'annotations/semi/published@{p}.json'),
        )
        for p in (5, 10, 20, 30)
    ),
    *(
        Row(
            (
                f'guided_distillation/*cityscapes_{p}p',
                f's4m_cityscapes_{p}p',
                *(m for m in MIXING_STUDENT if p == 10),
            ),
            'GD and S4M code: all of train',
            dict(
                unlabeled_file='annotations/semi/'
                f'published@{p}-unlabeled.json',
                unlabeled_images='leftImg8bit/train/',
            ),
        )
        for p in (5, 10, 20, 30)
    ),
    Row(
        ('*cityscapes_100p',),
        'GD section 4.1: all labels',
        dict(
            labeled_file='annotations/instancesonly_filtered_gtFine_train.json'
        ),
    ),
    Row(
        ('guided_distillation/*cityscapes_100p', 's4m_cityscapes_100p'),
        'GD section 4.1: 20k images of train_extra',
        dict(
            unlabeled_file='annotations/train_extra-unlabeled.json',
            unlabeled_images='leftImg8bit/train_extra/',
        ),
    ),
    *(
        Row(
            (f'*coco_{p}p',),
            'splits named as SoftTeacher, fold 1',
            dict(labeled_file=f'semi_anns/instances_train2017.1@{p}.json'),
        )
        for p in (1, 2, 5, 10)
    ),
    *(
        Row(
            (f'guided_distillation/*coco_{p}p',),
            'GD section 4.1: the remaining images',
            dict(
                unlabeled_file='semi_anns/'
                f'instances_train2017.1@{p}-unlabeled.json',
                unlabeled_images='train2017/',
            ),
        )
        for p in (1, 2, 5, 10)
    ),
    Row(
        ('*coco_100p',),
        'COCO: all labels',
        dict(labeled_file='annotations/instances_train2017.json'),
    ),
    Row(
        ('guided_distillation/*coco_100p',),
        'here: unlabeled2017',
        dict(
            unlabeled_file='semi_anns/image_info_unlabeled2017.json',
            unlabeled_images='unlabeled2017/',
        ),
    ),
    Row(
        ('s4m_coco_*',),
        'S4M code: all of train2017',
        dict(
            unlabeled_file='semi_anns/instances_train2017.all-unlabeled.json',
            unlabeled_images='train2017/',
        ),
    ),
    # ---------------------------------------------------- teacher to student
    Row(
        STUDENT,
        'GD section 4.1: 0.9996, lambda_u 2, thresholds 0.7 and 5; S4M '
        'section 4',
        dict(
            strategy='guided',
            ema_decay=0.9996,
            starts_from_teacher=True,
            sup_weight=1,
            unsup_weight=2,
            predict_on='student',
            labeler='QueryPseudoLabeler',
            pseudo_cls_thr=0.7,
            pseudo_size_thr=5,
            strong_brightness=0.4,
            strong_contrast=0.4,
            strong_saturation=0.4,
            strong_hue=0.1,
            strong_jitter_prob=0.8,
            strong_gray_prob=0.2,
            strong_blur_sigma=[0.1, 2.0],
            strong_blur_prob=0.5,
            strong_cutout=False,
        ),
    ),
    *(
        Row(
            (f'guided_distillation/*{data}_{p}p',),
            'GD Table 2',
            dict(burn_in=burn_in),
        )
        for data, p, burn_in in (
            ('cityscapes', 5, 15000),
            ('cityscapes', 10, 25000),
            ('cityscapes', 20, 30000),
            ('cityscapes', 30, 35000),
            ('cityscapes', 100, 50000),
            ('coco', 1, 20000),
            ('coco', 2, 25000),
            ('coco', 5, 30000),
            ('coco', 10, 60000),
        )
    ),
    Row(
        ('guided_distillation/*coco_100p',),
        'here: as with 10 %',
        dict(burn_in=60000),
    ),
    Row(('s4m_cityscapes_*',), 'S4M code', dict(burn_in=15000)),
    Row(('s4m_coco_*',), 'S4M code', dict(burn_in=25000)),
    Row(
        ('guided_distillation/*cityscapes_*',),
        'GD code: the student augments what the teacher sees',
        dict(student_view='the distorted crop'),
    ),
    Row(
        ('s4m_cityscapes_*',),
        "S4M code: copy-paste starts from the image's own colours",
        dict(student_view="the crop, the teacher's is distorted"),
    ),
    Row(
        ('guided_distillation/*coco_*', 's4m_coco_*'),
        'GD and S4M code: no colours but the strong ones',
        dict(student_view='the crop'),
    ),
    Row(
        (f'{_STRATEGY}no_burn_in_*',),
        'GD Table 4',
        dict(burn_in=0, starts_from_teacher=False),
    ),
    Row(
        (f'{_STRATEGY}standard_*',),
        'GD Table 4: Polite Teacher',
        dict(strategy='standard', starts_from_teacher=False),
    ),
    Row(
        (f'{_STRATEGY}fixed_teacher_*',),
        'GD Table 4: Noisy Boundaries',
        dict(strategy='fixed'),
    ),
    Row(CUTOUT, 'GD Figure 6', dict(strong_cutout=True)),
    Row(
        (f'{_STRATEGY}same_views_*',),
        'GD Figure 6: no strong augmentation',
        {
            f'strong_{k}': None
            for k in (
                *('brightness', 'contrast', 'saturation', 'hue'),
                *('jitter_prob', 'gray_prob', 'blur_sigma', 'blur_prob'),
                'cutout',
            )
        },
    ),
    # ------------------------------------------------------------------ S4M
    Row(
        REFINED,
        'S4M section 3.3 (three points); code (softmax of the logits)',
        dict(
            refine_points=3,
            refine_sampling='softmax',
            segmenter='sam2_hiera_large',
        ),
    ),
    Row(
        PASTED,
        'S4M section 3.4; code (3000 pixels, 0.8 to 1.2)',
        dict(
            paste_mode='static', paste_min_area=3000, paste_scales=[0.8, 1.2]
        ),
    ),
    Row(('s4m_coco_*',), 'S4M code', dict(paste_mode='dynamic')),
    Row(
        TEACHER,
        'S4M section 3.2; code (128 points, beta 1, weight 1)',
        dict(
            sd_points=128,
            sd_beta=1,
            sd_weight=1,
            sd_features='panoptic_head.pixel_decoder',
            segmenter='sam2_hiera_large',
        ),
    ),
    # --------------------------------------------------------------- mixing
    Row(MIXING, 'MMDetection: its own heads', dict(num_classes=None)),
    Row(
        ('mixing/*rtmdet*',),
        'MMDetection: RTMDet sees BGR',
        dict(
            pixel_mean=[103.53, 116.28, 123.675],
            pixel_std=[57.375, 57.12, 58.395],
        ),
    ),
    Row(('mixing/s4m_teacher_*',), 'here', dict(sd_features='neck')),
    Row(
        MIXING_STUDENT,
        'GD Table 2, 10 %; here: the views of the method',
        dict(burn_in=25000, student_view='the distorted crop'),
    ),
    Row(
        ('mixing/s4m_mask_rcnn_*',),
        'S4M code',
        dict(student_view="the crop, the teacher's is distorted"),
    ),
    Row(
        (
            'mixing/guided_distillation_mask_rcnn_*',
            'mixing/s4m_mask_rcnn_*',
            'mixing/guided_distillation_rtmdet_*',
            'mixing/s4m_pr_rtmdet_*',
        ),
        'here: thresholds on predictions, not tuned',
        dict(
            labeler='PredictionPseudoLabeler',
            pseudo_score_thr=0.7,
            pseudo_size_thr=80,
            pseudo_cls_thr=None,
        ),
    ),
    Row(
        ('mixing/guided_distillation_rtmdet_*', 'mixing/s4m_pr_rtmdet_*'),
        'here',
        dict(pseudo_score_thr=0.5),
    ),
    # ----------------------------------------------------------------- SSKD
    Row(
        ('sskd/*',),
        'SSKD: batches of 8',
        dict(labeled_batch=8, base_batch_size=8),
    ),
    Row(
        SSKD_PSEUDO,
        'SSKD code: labelled and pseudo-labelled images are one set; SSKD: '
        'score 0.3, 100 boxes, no overlap',
        dict(
            labeled_batch='of one set',
            unlabeled_batch='of one set',
            joint=True,
            student_view='its own',
            pseudo_options=dict(
                score_thr=0.3, max_per_image=100, non_overlapping=True
            ),
        ),
    ),
    Row(
        SSKD_STUDENT,
        'SSKD: DINOv2-S, DPT; code: strides 14, 7, 3.5 and 1.75, batch norm; '
        'assumed: channels',
        dict(
            _MASK2FORMER,
            backbone='ViTFeaturePyramid',
            size_divisor=14,
            arch='vit_small_patch14_dinov2',
            pretrained='checkpoints/dinov2_vits14_pretrain.pth',
            out_indices=[2, 5, 8, 11],
            strides=[3.5, 7, 14, 28],
            out_channels=[48, 96, 192, 384],
            resample='conv',
            fit='pad',
            frozen=False,
            vit_cfg=None,
            dpt_channels=256,
            dpt_upsample=True,
            dpt_norm='BN',
        ),
    ),
    Row(
        SSKD_STUDENT[:3],
        'SSKD: 5e-5, 0.1 on Cityscapes',
        dict(lr=5e-5, weight_decay=0.1),
    ),
    Row(
        tuple(f'{p}ade20k_*' for p in SSKD_STUDENT[:3]),
        'SSKD: 1e-4, 0.05, 160k iterations on ADE20K',
        dict(lr=1e-4, weight_decay=0.05, iterations=160000, decay_ends=160000),
    ),
    Row(
        ('sskd/sskd_refine_*',),
        'assumed: 10k iterations at 1e-5',
        dict(
            lr=1e-5,
            iterations=10000,
            decay_ends=10000,
            val_interval=1000,
            checkpoint_interval=1000,
        ),
    ),
    Row(
        SSKD_CONTRAST,
        'SSKD: lambda 0.1, 200 negatives, fusion; code: T from 0.3 to 0.07, '
        'width 128; assumed: temperature of P_m',
        dict(
            contrast_loss_weight=0.1,
            contrast_num_negatives=200,
            contrast_sampling='fusion',
            contrast_temperature=[0.3, 0.07],
            contrast_mask_temperature=0.5,
            contrast_hidden_channels=128,
            contrast_out_channels=128,
        ),
    ),
    Row(
        ('sskd/sskd_distill_*', *SSKD_TERMS),
        'SSKD: all pixels of the coarsest level; assumed: lambda_semi',
        dict(
            semi_weight=1,
            contrast_in_channels=384,
            contrast_anchors_per_image=None,
            contrast_schedule_iters=90000,
        ),
    ),
    Row(
        ('sskd/sskd_distill_ade20k_*',),
        'as above, over the training',
        dict(contrast_schedule_iters=160000),
    ),
    Row(
        ('sskd/sskd_teacher_*',),
        'SSKD: MM-Grounding-DINO Swin-L and SAM 2.1-L; AdamW 5e-5, 0.01, '
        'clip 0.1, 1000 iterations; its own test size 800/1333',
        dict(
            detector='GroundingDINO',
            pretrained='checkpoints/'
            'grounding_dino_swin-l_pretrain_all-56d69e78.pth',
            segmenter='sam2.1_hiera_large',
            segmenter_trains=None,
            classes_per_prompt=None,
            test_score_thr=0,
            max_per_image=100,
            detector_scale=[1333, 800],
            num_classes=8,
            size_divisor=1,
            # SAM 2's part, where it trains: assumed.
            other_groups=dict(_EMBEDDINGS, segmenter=dict(lr_mult=0.2)),
            lr=5e-5,
            weight_decay=0.01,
            clip=0.1,
            iterations=1000,
            decay_ends=1000,
            val_interval=500,
            checkpoint_interval=500,
            schedule='MultiStepLR',
            milestones=[700, 900],
            gamma=0.1,
            power=None,
            eta_min=None,
        ),
    ),
    Row(
        ('sskd/sskd_teacher_adapt_*', 'sskd/sskd_teacher_selftrain_*'),
        "assumed: SAM 2's neck and mask decoder, 512 anchors of its embedding",
        dict(
            segmenter_trains=['image_encoder.neck', 'sam_mask_decoder'],
            loss_mask_weight=5,
            loss_dice_weight=5,
            joint=True,
            contrast_in_channels=256,
            contrast_anchors_per_image=512,
            contrast_schedule_iters=1000,
        ),
    ),
    Row(
        ('sskd/sskd_*_ade20k*',),
        'SSKD: ADE20K, 630 x 630 of 0.5 to 2.0 times 630, short side 630',
        dict(
            num_classes=100,
            crop=[630, 630],
            scales=[
                [2520, short]
                for short in (
                    *(315, 378, 441, 504, 567, 630, 693, 756),
                    *(819, 882, 945, 1008, 1071, 1134, 1197, 1260),
                )
            ],
            labeled_colors=[32, [0.5, 1.5], [0.5, 1.5], 18],
            kept='all objects',
            test_scale=[2520, 630],
            metrics=['CocoInstanceMetric'],
            labeled_file='semi_anns/ade20k_instance_train.1@10.json',
        ),
    ),
    Row(
        ('sskd/sskd_teacher_*ade20k*',),
        'assumed: SAM 2 sees the image as it is, 40 classes a prompt',
        dict(
            kept='visible objects',
            test_scale=1,
            test_backend='cv2',  # nothing is resized
            classes_per_prompt=40,
        ),
    ),
    Row(
        ('sskd/sskd_teacher_zeroshot_ade20k',),
        'nothing is trained',
        dict(labeled_file='ade20k_instance_train.json'),
    ),
    Row(
        ('sskd/sskd_teacher_zeroshot_cityscapes',),
        'nothing is trained',
        dict(
            labeled_file='annotations/instancesonly_filtered_gtFine_train.json'
        ),
    ),
    *(
        Row(
            (f'sskd/sskd_{stage}_{data}_*',),
            'SSKD: labelled by the stage before',
            dict(
                unlabeled_images=images,
                **(
                    {
                        'unlabeled_file': 'work_dirs/'
                        f'sskd_teacher_{before}_{data}_{p}/pseudo_labels.json'
                    }
                    if p
                    else {}
                ),
            ),
        )
        for stage, before in (
            ('teacher_selftrain', 'adapt'),
            ('distill', 'selftrain'),
        )
        for data, images, p in (
            ('cityscapes', 'data/cityscapes/leftImg8bit/train/', None),
            (
                'ade20k',
                'data/ADEChallengeData2016/images/training/',
                '10p',
            ),
        )
    ),
    *(
        Row(
            (f'sskd/sskd_{stage}_cityscapes_{p}p',),
            'SSKD: labelled by the stage before',
            dict(
                unlabeled_file=f'work_dirs/sskd_teacher_{before}_cityscapes_'
                f'{p}p/pseudo_labels.json'
            ),
        )
        for stage, before in (
            ('teacher_selftrain', 'adapt'),
            ('distill', 'selftrain'),
        )
        for p in (5, 10, 30)
    ),
    # --------------------------------------------------------------- Shapes
    Row(
        ('*shapes_*',),
        'here: Cityscapes at an eighth, a network from scratch, one process '
        '(docs/design.md)',
        dict(
            lr=1e-3,
            backbone_lr_mult=1,
            iterations=800,
            decay_ends=800,
            val_interval=800,
            checkpoint_interval=800,
            labeled_batch=4,
            base_batch_size=4,
            crop=[256, 128],
            scales=[[512, s] for s in (128, 144, 160, 176, 192, 224)],
            # A class shows in its hue.
            labeled_colors=[32, [0.5, 1.5], [0.5, 1.5], 3],
            kept='all objects',
            labeled_file='annotations/semi/seed0@5.json',
            test_scale=1,
            test_backend='cv2',  # nothing is resized
            metrics=['CityscapesInstanceMetric', 'CocoInstanceMetric'],
        ),
    ),
    Row(
        _NANO,
        'here: a nano Mask2Former',
        dict(
            _MASK2FORMER,
            num_classes=8,
            num_queries=20,
            decoder_layers=3,
            loss_num_points=1024,
            max_per_image=20,
        ),
    ),
    Row(
        tuple(p for p in _NANO if 'sskd' not in p),
        'here: three eighths of a ResNet-18, pretrained on random scenes',
        dict(
            backbone='ResNet',
            depth=18,
            frozen_stages=-1,
            pretrained='s4m://mask2former_nano?queries=20',
            backbone_norm='BN',
            backbone_norm_trains=True,
            backbone_norm_eval=False,
        ),
    ),
    Row(
        SHAPES_STUDENT,
        'here: scaled to 800 iterations and a weak teacher '
        '(docs/benchmarks.md)',
        dict(
            unlabeled_batch=4,
            base_batch_size=8,
            unlabeled_file='annotations/semi/seed0@5-unlabeled.json',
            unlabeled_images='leftImg8bit/train/',
            student_view='the distorted crop',
            burn_in=500,
            ema_decay=0.98,
            unsup_weight=0.5,
            strong_hue=0.02,
            strong_gray_prob=0,
        ),
    ),
    Row(
        (f'{_STRATEGY}no_burn_in_shapes_*',),
        'GD Table 4',
        dict(burn_in=0),
    ),
    Row(
        (f'{_STRATEGY}same_views_shapes_*',),
        'GD Figure 6',
        dict(strong_hue=None, strong_gray_prob=None),
    ),
    Row(
        ('s4m/s4m_teacher_*', *_S4M_REFINED, *_NUCLEI_REFINED),
        'here: the nano SAM 2',
        dict(segmenter='nano_sam2'),
    ),
    Row(
        ('s4m/s4m_shapes_*', 's4m/*arp_*', 's4m/s4m_in_mask_*'),
        'here: 3000 of 512 x 1024 pixels, at 128 x 256',
        dict(
            paste_mode='static',
            paste_min_area=188,
            paste_scales=[0.8, 1.2],
            student_view="the crop, the teacher's is distorted",
        ),
    ),
    Row(
        ('s4m/s4m_teacher_*',),
        'here: 256 tokens, not 4096',
        dict(sd_points=32),
    ),
    Row(
        ('s4m/s4m_in_mask_*',),
        'S4M section 3.3',
        dict(refine_sampling='in_mask'),
    ),
    Row(
        tuple(p for p in _NANO if 'sskd' in p),
        'here: a transformer that was pretrained on random scenes, with a '
        'warm-up, no batch norm',
        dict(
            dpt_norm=None,
            size_divisor=32,
            lr=1e-3,
            weight_decay=0.05,
            warm_up=80,
            arch='vit_tiny_patch16_224',
            vit_cfg=dict(embed_dim=128, num_heads=4, depth=4, patch_size=8),
            pretrained='s4m://vit_nano?queries=20',
            out_indices=[0, 1, 2, 3],
            out_channels=[16, 32, 64, 128],
            strides=[4, 8, 16, 32],
            resample='bilinear',
        ),
    ),
    Row(
        ('sskd/sskd_refine_shapes_*',),
        'here: a tenth of the rate and the iterations',
        dict(
            lr=1e-4,
            warm_up=0,
            iterations=80,
            decay_ends=80,
            val_interval=80,
            checkpoint_interval=80,
        ),
    ),
    Row(
        tuple(f'{p}shapes_*' for p in SSKD_PSEUDO[:2]) + SSKD_PSEUDO[2:],
        'here: 4 of each, since 20 of 420 labels are too few to be one set',
        dict(
            labeled_batch=4,
            unlabeled_batch=4,
            base_batch_size=8,
            repeat_thr=0,
            joint=None,
            unlabeled_file='work_dirs/sskd_teacher_selftrain_shapes_5p/'
            'pseudo_labels.json',
            unlabeled_images='data/shapes/leftImg8bit/train/',
        ),
    ),
    Row(
        ('sskd/sskd_teacher_selftrain_shapes_*',),
        'SSKD: labelled by the stage before',
        dict(
            unlabeled_file='work_dirs/sskd_teacher_adapt_shapes_5p/'
            'pseudo_labels.json'
        ),
    ),
    Row(
        ('sskd/sskd_distill_shapes_*', *SSKD_TERMS),
        'here: stride 16, 64 negatives, T 0.2 throughout',
        dict(
            feature_level=2,
            contrast_in_channels=64,
            contrast_num_negatives=64,
            contrast_temperature=0.2,
            contrast_schedule_iters=None,
        ),
    ),
    Row(
        ('sskd/sskd_teacher_*shapes_*',),
        "here: RTMDet's rate and clipping, the nano SAM 2",
        dict(
            detector='RTMDet',
            pixel_mean=[103.53, 116.28, 123.675],
            pixel_std=[57.375, 57.12, 58.395],
            size_divisor=32,
            other_groups=_EMBEDDINGS,
            pretrained=None,
            segmenter='nano_sam2',
            test_score_thr=0.05,
            max_per_image=30,
            detector_scale=None,
            lr=4e-3,
            weight_decay=0.05,
            clip=35,
            schedule='PolyLR',
            power=0.9,
            eta_min=0,
            milestones=None,
            gamma=None,
            kept='visible objects',
        ),
    ),
    Row(
        ('sskd/sskd_teacher_supervised_shapes_*',),
        'the detector alone',
        dict(num_classes=None),
    ),
    Row(
        (
            'sskd/sskd_teacher_adapt_shapes_*',
            'sskd/sskd_teacher_selftrain_shapes_*',
        ),
        "here: the nano SAM 2's embedding, a twentieth of the rate",
        dict(
            other_groups=dict(_EMBEDDINGS, segmenter=dict(lr_mult=0.05)),
            joint=None,
            contrast_in_channels=64,
            contrast_num_negatives=64,
            contrast_anchors_per_image=None,
            contrast_temperature=0.2,
            contrast_schedule_iters=None,
        ),
    ),
    Row(
        ('sskd/sskd_semi_*', 'sskd/sskd_sup_semi_*'),
        'SSKD, terms of the objective',
        {
            f'contrast_{k}': None
            for k in (
                *('loss_weight', 'num_negatives', 'sampling', 'temperature'),
                'mask_temperature',
                *('hidden_channels', 'out_channels', 'in_channels'),
                *('anchors_per_image', 'schedule_iters'),
            )
        },
    ),
    Row(('sskd/sskd_semi_*',), 'SSKD, terms', dict(sup_weight=0)),
    Row(('sskd/sskd_sup_pxl_*',), 'SSKD, terms', dict(semi_weight=0)),
    *(
        Row(
            (f'sskd/sskd_{sampling}_*',),
            'SSKD Table 4',
            dict(contrast_sampling=sampling),
        )
        for sampling in ('uniform', 'mask', 'class')
    ),
    # --------------------------------------------------------------- Nuclei
    Row(
        ('*nuclei_*',),
        'here: microscopy images, a small network, one process '
        '(docs/results/nuclei.md)',
        dict(
            lr=1e-3,
            backbone_lr_mult=1,
            iterations=240,
            decay_ends=240,
            warm_up=24,
            val_interval=48,
            checkpoint_interval=240,
            labeled_batch=4,
            base_batch_size=4,
            crop=[128, 128],
            scales=[[4096, s] for s in (192, 224, 256, 320, 384)],
            labeled_colors=[32, [0.5, 1.5], [0.5, 1.5], 18],
            kept='visible objects',
            labeled_file='annotations/labeled_6.json',
            test_scale=1,
            test_backend='cv2',  # nothing is resized
            metrics=['CocoInstanceMetric'],
        ),
    ),
    Row(
        NUCLEI_MASK2FORMER,
        'here: one class; COCO: 100 predictions of an image',
        dict(
            num_classes=1,
            num_queries=100,
            max_per_image=100,
            pretrained='s4m://mask2former_nano',
        ),
    ),
    Row(
        ('mixing/*nuclei_*',),
        "here: RTMDet's clipping, the pixels of the pretrained backbone",
        dict(
            lr=2e-3,
            clip=35,
            pixel_mean=[123.675, 116.28, 103.53],
            pixel_std=[58.395, 57.12, 57.375],
        ),
    ),
    Row(
        NUCLEI_STUDENT,
        'here: scaled to 240 iterations',
        dict(
            unlabeled_batch=4,
            base_batch_size=8,
            unlabeled_file='annotations/unlabeled.json',
            unlabeled_images='images/',
            student_view='the distorted crop',
            burn_in=150,
            ema_decay=0.91,
            unsup_weight=0.5,
        ),
    ),
    Row(
        ('mixing/guided_distillation_*nuclei_*', 'mixing/s4m_pr_*nuclei_*'),
        'here: the smallest nucleus has 21 pixels',
        dict(pseudo_size_thr=16, pseudo_score_thr=0.4),
    ),
    Row(
        ('s4m/s4m_nuclei_*',),
        'here: nuclei are small',
        dict(
            paste_mode='static',
            paste_min_area=64,
            paste_scales=[0.8, 1.2],
            student_view="the crop, the teacher's is distorted",
        ),
    ),
]
