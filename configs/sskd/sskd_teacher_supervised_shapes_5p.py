# The detector alone learns from the labelled images.
_base_ = ['../_base_/methods/sskd_teacher_shapes.py', '../_base_/datasets/shapes_labeled_branch.py']
