# Labelled images only: the papers' baseline and Guided Distillation's teacher.
# Run it on 4 GPUs: 16 images.
_base_ = [
    '../models/mask2former_r50.py',
    '../datasets/cityscapes_instance.py',
    '../schedules/cityscapes_90k.py',
]
