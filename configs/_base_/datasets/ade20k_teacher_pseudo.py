# ADE20K with pseudo-labels for the teacher, which sees images at their own
# size in evaluation (model.test_cfg.detector_scale is what its detector sees).
_base_ = './ade20k_pseudo.py'

# It is a detector with boxes: what a crop cut away is dropped.
steps = _base_.visible_pipeline[:-1]
train_dataloader = dict(
    dataset=dict(
        labeled=dict(pipeline=[*steps, _base_.labeled_dataset.pipeline[-1]]),
        unlabeled=dict(pipeline=[*steps, _base_.pseudo_dataset.pipeline[-1]]),
    )
)

test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
