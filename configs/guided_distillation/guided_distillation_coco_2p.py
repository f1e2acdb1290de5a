_base_ = ['../_base_/methods/guided_distillation_coco.py', '../_base_/splits/coco_2p.py']
model = dict(teacher_checkpoint='work_dirs/supervised_coco_2p')
train_dataloader = _base_.semi_split
default_hooks = dict(mean_teacher=dict(burn_in=25000))
