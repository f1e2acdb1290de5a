# The teacher is the student's moving average from the first iteration on.
_base_ = './guided_distillation_shapes_5p.py'
model = dict(teacher_checkpoint=None)
default_hooks = dict(mean_teacher=dict(burn_in=0))
