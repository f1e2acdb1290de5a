# The teacher never changes, as in Noisy Boundaries.
_base_ = '../shapes/guided_distillation_shapes_5p.py'
custom_hooks = [dict(_base_.mean_teacher, strategy='fixed')]
