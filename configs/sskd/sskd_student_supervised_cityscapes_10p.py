# The student without a teacher: labelled images only.
_base_ = ['../_base_/methods/sskd_student_cityscapes.py', '../_base_/datasets/cityscapes_instance.py', '../_base_/splits/cityscapes_10p.py']
train_dataloader = dict(_base_.labeled_split, batch_size=2)
