# + PR: refined masks, no copy-paste, the supervised teacher.
_base_ = '../_base_/methods/s4m_shapes.py'
model = dict(copy_paste=None, teacher_checkpoint='work_dirs/supervised_shapes_5p')
train_dataloader = dict(dataset=dict(unlabeled=dict(pipeline=_base_.unlabeled_pipeline)))
