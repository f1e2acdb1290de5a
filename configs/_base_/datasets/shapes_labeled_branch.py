# Shapes, labelled images for a detector with boxes, as the one branch of a
# batch.
_base_ = './shapes_instance.py'

pipeline = [
    *_base_.visible_pipeline[:-1],
    dict(
        type='MultiBranch',
        branch_field=['sup'],
        sup=[dict(type='PackDetInputs')],
    ),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
