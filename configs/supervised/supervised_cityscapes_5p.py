# Labelled images only: the papers' baseline and Guided Distillation's teacher.
_base_ = [
    '../_base_/models/mask2former_r50.py',
    '../_base_/datasets/cityscapes_instance.py',
    '../_base_/schedules/cityscapes_90k.py',
]

train_dataloader = dict(
    dataset=dict(ann_file='annotations/semi/published@5.json')
)
