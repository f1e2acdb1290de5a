# + ARP without PR: the teacher's masks are pasted, the supervised teacher.
_base_ = '../shapes/guided_distillation_shapes_5p.py'

model = dict(
    copy_paste=dict(type='RefinedCopyPaste', mode='static', min_area=188)
)
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=_base_.clean_student_pipeline))
)
