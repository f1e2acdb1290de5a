# SSKD's teacher for Cityscapes.
_base_ = ['./sskd_teacher.py', '../datasets/cityscapes_classes.py']

model = dict(classes=_base_.classes)
