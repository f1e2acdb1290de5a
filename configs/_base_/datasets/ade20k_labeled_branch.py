# ADE20K, labelled images for a detector with boxes, as the one branch of a
# batch; the leaf config names the split. The teacher sees images at their own
# size in evaluation (model.test_cfg.detector_scale is what its detector sees).
_base_ = './ade20k_instance.py'

pipeline = [
    *_base_.visible_pipeline[:-1],
    dict(
        type='MultiBranch',
        branch_field=['sup'],
        sup=[dict(type='PackDetInputs')],
    ),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=pipeline))
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
