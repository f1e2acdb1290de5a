# MaskFormer on the labelled images, the teacher of guided_distillation_maskformer.
_base_ = [
    '../_base_/models/maskformer_r50.py',
    '../_base_/datasets/cityscapes_instance.py',
    '../_base_/schedules/cityscapes_90k.py',
    '../_base_/splits/cityscapes_10p.py',
]
train_dataloader = _base_.labeled_split
train_dataloader.dataset.pipeline = _base_.visible_pipeline
