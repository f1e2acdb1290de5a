# Labelled images only: 20 of Shapes' 400.
_base_ = [
    '../_base_/models/mask2former_nano.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/shapes_800.py',
]
