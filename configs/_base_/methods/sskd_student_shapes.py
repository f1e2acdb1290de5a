# SSKD's student on Shapes, labelled images only.
_base_ = ['../models/mask2former_vit_nano.py', '../schedules/shapes_800.py']
