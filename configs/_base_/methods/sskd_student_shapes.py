# SSKD's student on Shapes, labelled images only, with a warm-up.
_base_ = ['../models/mask2former_vit_nano.py', '../schedules/shapes_800.py']

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=80, by_epoch=False),
    dict(
        type='PolyLR', power=0.9, eta_min=0.0, begin=80, end=800, by_epoch=False
    ),
]
