# Shapes with pseudo-labels for the teacher, a detector with boxes: what a crop
# cut away is dropped.
_base_ = './shapes_pseudo.py'

steps = _base_.visible_pipeline[:-1]
train_dataloader = dict(
    dataset=dict(
        labeled=dict(pipeline=[*steps, _base_.labeled_dataset.pipeline[-1]]),
        unlabeled=dict(pipeline=[*steps, _base_.pseudo_dataset.pipeline[-1]]),
    )
)
