# SSKD's teacher for Cityscapes.
_base_ = './sskd_teacher.py'

model = dict(
    classes=(
        'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle',
        'bicycle',
    )
)
