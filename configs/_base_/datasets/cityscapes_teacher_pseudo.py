# Cityscapes with pseudo-labels for the teacher, a detector with boxes: what a crop
# cut away is dropped.
_base_ = './cityscapes_pseudo.py'

train_dataloader = dict(dataset=_base_.visible_pipelines)
