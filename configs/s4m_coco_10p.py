_base_ = ['./_base_/methods/s4m_coco.py', './_base_/splits/coco_10p.py']
model = dict(teacher_checkpoint='work_dirs/s4m_teacher_coco_10p')
train_dataloader = _base_.semi_split_all
