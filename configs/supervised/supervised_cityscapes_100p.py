_base_ = ['../_base_/methods/supervised_cityscapes.py', '../_base_/splits/cityscapes_100p.py']
train_dataloader = _base_.labeled_split
