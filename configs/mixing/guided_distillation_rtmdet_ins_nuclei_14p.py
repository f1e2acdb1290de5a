# Guided Distillation of a RTMDet-Ins. Thresholds are not tuned.
_base_ = '../_base_/methods/guided_distillation_rtmdet_ins_nuclei.py'
model = dict(teacher_checkpoint='work_dirs/supervised_rtmdet_ins_nuclei_14p')
