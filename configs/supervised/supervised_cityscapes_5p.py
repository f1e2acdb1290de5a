_base_ = ['../_base_/methods/supervised_cityscapes.py', '../_base_/splits/cityscapes_5p.py']
train_dataloader = _base_.labeled_split
