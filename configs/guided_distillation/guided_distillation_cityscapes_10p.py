_base_ = ['../_base_/methods/guided_distillation_cityscapes.py', '../_base_/splits/cityscapes_10p.py']
model = dict(teacher_checkpoint='work_dirs/supervised_cityscapes_10p')
train_dataloader = _base_.semi_split
default_hooks = dict(mean_teacher=dict(burn_in=25000))
