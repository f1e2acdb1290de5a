_base_ = ['./_base_/methods/s4m_teacher_coco.py', './_base_/splits/coco_2p.py']
train_dataloader = _base_.labeled_split
