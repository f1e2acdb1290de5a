# ADE20K with pseudo-labels for the teacher, which sees images at their own
# size in evaluation (model.test_cfg.detector_scale is what its detector sees).
_base_ = './ade20k_pseudo.py'

# The teacher, a detector with boxes, drops objects outside the crop.
train_dataloader = dict(dataset=_base_.visible_pipelines)
val_dataloader = dict(dataset=dict(pipeline=_base_.own_size_pipeline))
test_dataloader = val_dataloader
