# Labelled images only, 16.
_base_ = [
    '../models/mask2former_r50_coco.py',
    '../datasets/coco_instance.py',
    '../schedules/coco_368k.py',
]
