_base_ = ['../_base_/methods/guided_distillation_coco.py', '../_base_/splits/coco_10p.py']
model = dict(teacher_checkpoint='work_dirs/supervised_coco_10p')
train_dataloader = _base_.semi_split
default_hooks = dict(mean_teacher=dict(burn_in=60000))
