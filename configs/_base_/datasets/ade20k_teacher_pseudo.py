# ADE20K with pseudo-labels for the teacher, which sees images at their own
# size in evaluation (model.test_cfg.detector_scale is what its detector sees).
_base_ = './ade20k_pseudo.py'

test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
