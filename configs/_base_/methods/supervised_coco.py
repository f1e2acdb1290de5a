# Labelled images only. Run it on 4 GPUs: 16 images.
_base_ = [
    '../models/mask2former_r50_coco.py',
    '../datasets/coco_instance.py',
    '../schedules/coco_368k.py',
]
