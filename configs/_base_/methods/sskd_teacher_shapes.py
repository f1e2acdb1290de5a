# SSKD's teacher on Shapes: a nano detector from scratch predicts boxes, the nano
# SAM 2 their masks. In this file only the detector trains.
_base_ = [
    '../models/rtmdet_nano.py',
    '../schedules/shapes_800.py',
    '../segmenters/nano_sam2.py',
]

model = dict(
    _delete_=True,
    type='PromptedDetector',
    detector=_base_.model,
    segmenter=_base_.segmenter,
    data_preprocessor=dict(
        _base_.model.data_preprocessor, type='SemiDataPreprocessor'
    ),
    # Images have at most 9 objects, and each box costs a mask decoder pass.
    test_cfg=dict(score_thr=0.05, max_per_image=30),
)
# With Mask2Former's rate and clipping, RTMDet learns too slowly.
optim_wrapper = dict(
    optimizer=dict(lr=4e-3), clip_grad=dict(max_norm=35.0)
)
