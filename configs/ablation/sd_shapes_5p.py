# + SD: Guided Distillation that starts from S4M's teacher.
_base_ = '../shapes/guided_distillation_shapes_5p.py'

model = dict(teacher_checkpoint='work_dirs/s4m_teacher_shapes_5p')
