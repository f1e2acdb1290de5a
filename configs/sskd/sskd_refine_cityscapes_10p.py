# Stage 3: the student of stage 2 on labelled images.
_base_ = ['../_base_/methods/sskd_refine_cityscapes.py', '../_base_/datasets/cityscapes_instance.py', '../_base_/splits/cityscapes_10p.py']
train_dataloader = dict(_base_.labeled_split, batch_size=2)
load_from = 'work_dirs/sskd_distill_cityscapes_10p/iter_90000.pth'
