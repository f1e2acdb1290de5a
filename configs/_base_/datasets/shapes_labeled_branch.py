# Shapes, labelled images for a detector with boxes, as the one branch of a
# batch.
_base_ = './shapes_instance.py'

pipeline = [*_base_.visible_steps, _base_.labeled_branch]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
