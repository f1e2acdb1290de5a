# + SD: Guided Distillation that starts from S4M's teacher.
_base_ = '../_base_/methods/guided_distillation_shapes.py'
model = dict(teacher_checkpoint='work_dirs/s4m_teacher_shapes_5p')
