# Labelled images only, 16: the papers' baseline and Guided Distillation's
# teacher.
_base_ = [
    '../models/mask2former_r50.py',
    '../datasets/cityscapes_instance.py',
    '../schedules/cityscapes_90k.py',
]
