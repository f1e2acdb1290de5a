# Guided burn-in, then the student's moving average.
_base_ = '../_base_/methods/guided_distillation_shapes.py'
model = dict(teacher_checkpoint='work_dirs/supervised_shapes_5p')
