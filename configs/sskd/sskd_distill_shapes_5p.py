# Stage 2: from the teacher's pseudo-labels to the student.
_base_ = ['../_base_/methods/sskd_distill_shapes.py', '../_base_/datasets/shapes_pseudo.py']
teacher = 'work_dirs/sskd_teacher_selftrain_shapes_5p'
train_dataloader = dict(dataset=dict(unlabeled=dict(ann_file=teacher + '/pseudo_labels.json')))
pseudo_labels = dict(teacher=teacher)
