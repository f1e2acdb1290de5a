_base_ = ['../_base_/methods/guided_distillation_cityscapes.py', '../_base_/splits/cityscapes_5p.py']
model = dict(teacher_checkpoint='work_dirs/supervised_cityscapes_5p')
train_dataloader = _base_.semi_split
default_hooks = dict(mean_teacher=dict(burn_in=15000))
