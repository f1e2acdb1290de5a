# SD + PR + ARP: S4M's student.
_base_ = '../_base_/methods/s4m_shapes.py'
model = dict(teacher_checkpoint='work_dirs/s4m_teacher_shapes_5p')
