# + ARP without PR: the teacher's masks are pasted, the supervised teacher.
_base_ = '../_base_/methods/s4m_shapes.py'
model = dict(refiner=None, teacher_checkpoint='work_dirs/supervised_shapes_5p')
