# The detector alone learns from the labelled images.
_base_ = ['../_base_/methods/sskd_teacher_cityscapes.py', '../_base_/datasets/cityscapes_labeled_branch.py', '../_base_/splits/cityscapes_30p.py']
train_dataloader = _base_.labeled_split
