# Stage 1b: from the pre-trained weights again, + pseudo-labels of stage 1a.
_base_ = ['../_base_/methods/sskd_teacher_adapt_cityscapes.py', '../_base_/datasets/cityscapes_teacher_pseudo.py', '../_base_/splits/cityscapes_5p.py']
teacher = 'work_dirs/sskd_teacher_adapt_cityscapes_5p'
train_dataloader = dict(dataset=dict(labeled=_base_.labeled_split.dataset, unlabeled=dict(ann_file=teacher + '/pseudo_labels.json')))
pseudo_labels = dict(teacher=teacher, images=_base_.data_root + _base_.semi_split.dataset.unlabeled.ann_file)
