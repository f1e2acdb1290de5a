# Stage 3: the student of stage 2 on labelled images.
_base_ = ['../_base_/methods/sskd_refine_ade20k.py', '../_base_/datasets/ade20k_instance.py', '../_base_/splits/ade20k_10p.py']
train_dataloader = _base_.labeled_split
load_from = 'work_dirs/sskd_distill_ade20k_10p/iter_160000.pth'
