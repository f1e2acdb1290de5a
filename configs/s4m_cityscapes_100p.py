_base_ = ['./_base_/methods/s4m_cityscapes.py', './_base_/splits/cityscapes_100p.py']
model = dict(teacher_checkpoint='work_dirs/s4m_teacher_cityscapes_100p')
train_dataloader = _base_.semi_split
train_cfg = dict(max_iters=180000)
param_scheduler = dict(end=180000)
