# SSKD's teacher, 8 images: MM-Grounding-DINO predicts boxes, SAM 2.1 their
# masks. In this file only the detector trains ('teacher supervised').
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
    # The detector sees this size, SAM 2 the whole image.
    test_cfg=dict(
        score_thr=0.0, max_per_image=100, detector_scale=(1333, 800)
    ),
)
