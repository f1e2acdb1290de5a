# Guided burn-in, then the student's moving average.
_base_ = '../_base_/methods/guided_distillation_nuclei.py'
model = dict(teacher_checkpoint='work_dirs/supervised_nuclei_14p')
