# The teacher never changes, as in Noisy Boundaries.
_base_ = '../guided_distillation/guided_distillation_cityscapes_5p.py'
custom_hooks = [dict(_base_.mean_teacher, strategy='fixed')]
