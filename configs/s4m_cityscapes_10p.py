_base_ = ['./_base_/methods/s4m_cityscapes.py', './_base_/splits/cityscapes_10p.py']
model = dict(teacher_checkpoint='work_dirs/s4m_teacher_cityscapes_10p')
train_dataloader = _base_.semi_split
