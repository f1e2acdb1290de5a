# The student without a teacher: labelled images only.
_base_ = ['../_base_/methods/sskd_student_ade20k.py', '../_base_/datasets/ade20k_instance.py', '../_base_/splits/ade20k_10p.py']
train_dataloader = _base_.labeled_split
