# ADE20K, labelled images for a detector with boxes, as the one branch of a
# batch; the leaf config names the split. The teacher sees images at their own
# size in evaluation (model.test_cfg.detector_scale is what its detector sees).
_base_ = './ade20k_instance.py'

pipeline = [*_base_.visible_steps, _base_.labeled_branch]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.own_size_pipeline))
test_dataloader = val_dataloader
