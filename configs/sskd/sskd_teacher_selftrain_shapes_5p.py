# Stage 1b: from the pre-trained weights again, + pseudo-labels of stage 1a.
_base_ = ['../_base_/methods/sskd_teacher_adapt_shapes.py', '../_base_/datasets/shapes_teacher_pseudo.py']
teacher = 'work_dirs/sskd_teacher_adapt_shapes_5p'
train_dataloader = dict(dataset=dict(unlabeled=dict(ann_file=teacher + '/pseudo_labels.json')))
pseudo_labels = dict(teacher=teacher)
auto_scale_lr = dict(base_batch_size=8)
