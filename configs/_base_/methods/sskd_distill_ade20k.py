# Stage 2.
_base_ = ['./sskd_student_ade20k.py', './sskd_distill.py']

model = _base_.distill
model.loss_contrast.schedule_iters = 160000
default_hooks = dict(contrast_log=_base_.contrast_log)
