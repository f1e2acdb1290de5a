# Cityscapes, labelled images for a detector with boxes, as the one branch of a
# batch; the leaf config names the split.
_base_ = './cityscapes_instance.py'

pipeline = [*_base_.visible_steps, _base_.labeled_branch]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=pipeline))
