# SD: S4M's teacher learns the structure of the nano SAM 2.
_base_ = '../_base_/methods/s4m_teacher_nuclei.py'
