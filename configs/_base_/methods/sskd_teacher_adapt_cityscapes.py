# Stages 1a and 1b: + L_pxl, SAM 2's neck and mask decoder train.
_base_ = ['./sskd_teacher_cityscapes.py', './sskd_adapt.py']

# Labelled and pseudo-labelled images are one set.
model = dict(_base_.adapt, joint=True)
default_hooks = dict(
    contrast_log=dict(type='ContrastiveDiagnosticsHook', interval=50)
)
# SAM 2's decoder has heads that a single mask per box does not use.
find_unused_parameters = True
