_base_ = ['./_base_/methods/s4m_cityscapes.py', './_base_/splits/cityscapes_30p.py']
model = dict(teacher_checkpoint='work_dirs/s4m_teacher_cityscapes_30p')
train_dataloader = _base_.semi_split
