# Stage 1a: detector, SAM 2 and L_pxl on the labelled images.
_base_ = ['../_base_/methods/sskd_teacher_adapt_ade20k.py', '../_base_/datasets/ade20k_labeled_branch.py', '../_base_/splits/ade20k_10p.py']
train_dataloader = _base_.labeled_split
