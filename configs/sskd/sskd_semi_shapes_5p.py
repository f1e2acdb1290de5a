# SSKD, the pseudo-labels alone ("distillation only"): no labels, no L_pxl.
_base_ = './sskd_distill_shapes_5p.py'
model = dict(sup_weight=0.0, loss_contrast=None, strong_augment=None)
