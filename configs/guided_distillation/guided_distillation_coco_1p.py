_base_ = ['../_base_/methods/guided_distillation_coco.py', '../_base_/splits/coco_1p.py']
model = dict(teacher_checkpoint='work_dirs/supervised_coco_1p')
train_dataloader = _base_.semi_split
default_hooks = dict(mean_teacher=dict(burn_in=20000))
