# Mask R-CNN on the labelled images, the teacher of guided_distillation_mask_rcnn.
_base_ = [
    '../_base_/models/mask_rcnn_r50.py',
    '../_base_/datasets/cityscapes_instance.py',
    '../_base_/schedules/cityscapes_90k.py',
    '../_base_/splits/cityscapes_10p.py',
]
train_dataloader = _base_.labeled_split
train_dataloader.dataset.pipeline = _base_.visible_pipeline
