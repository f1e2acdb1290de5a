# SSKD without pseudo-labels: L_sup, and L_pxl on all images.
_base_ = './sskd_distill_shapes_5p.py'
model = dict(semi_weight=0.0)
