# + PR + ARP, the supervised teacher.
_base_ = '../shapes/s4m_shapes_5p.py'

model = dict(teacher_checkpoint='work_dirs/supervised_shapes_5p')
