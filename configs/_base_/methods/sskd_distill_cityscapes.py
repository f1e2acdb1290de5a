# Stage 2.
_base_ = ['./sskd_student_cityscapes.py', './sskd_distill.py']

model = _base_.distill
default_hooks = dict(contrast_log=_base_.contrast_log)
