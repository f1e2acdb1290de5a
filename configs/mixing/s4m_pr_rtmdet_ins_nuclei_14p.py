# + PR: refined masks of a RTMDet-Ins, no copy-paste, the supervised teacher.
_base_ = '../_base_/methods/s4m_pr_rtmdet_ins_nuclei.py'
model = dict(teacher_checkpoint='work_dirs/supervised_rtmdet_ins_nuclei_14p')
