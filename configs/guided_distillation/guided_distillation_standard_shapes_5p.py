# Burn-in without unlabelled images, as Polite Teacher.
_base_ = './guided_distillation_shapes_5p.py'
model = dict(teacher_checkpoint=None)
default_hooks = dict(mean_teacher=dict(strategy='standard'))
