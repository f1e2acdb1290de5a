# Cityscapes with pseudo-labels for the teacher, a detector with boxes, which drops
# objects outside the crop.
_base_ = './cityscapes_pseudo.py'

train_dataloader = dict(dataset=_base_.visible_pipelines)
