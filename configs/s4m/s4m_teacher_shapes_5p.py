_base_ = '../_base_/methods/s4m_teacher_shapes.py'
