# Stage 1a: detector, SAM 2 and L_pxl on the labelled images.
_base_ = ['../_base_/methods/sskd_teacher_adapt_shapes.py', '../_base_/datasets/shapes_labeled_branch.py']
