# SSKD without L_pxl.
_base_ = './sskd_distill_shapes_5p.py'
model = dict(loss_contrast=None, strong_augment=None)
