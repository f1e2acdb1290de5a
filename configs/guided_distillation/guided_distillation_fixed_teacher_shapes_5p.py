# The teacher never changes, as in Noisy Boundaries.
_base_ = './guided_distillation_shapes_5p.py'
default_hooks = dict(mean_teacher=dict(strategy='fixed'))
