# SD + PR + ARP: S4M's student.
_base_ = '../_base_/methods/s4m_nuclei.py'
model = dict(teacher_checkpoint='work_dirs/s4m_teacher_nuclei_14p')
