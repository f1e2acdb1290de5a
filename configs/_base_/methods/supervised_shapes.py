# Labelled images only: 20 of Shapes' 400.
_base_ = [
    '../models/mask2former_nano.py',
    '../datasets/shapes_instance.py',
    '../schedules/shapes_800.py',
]
