# Stage 2.
_base_ = ['./sskd_student_cityscapes.py', './sskd_distill.py']

model = _base_.distill
