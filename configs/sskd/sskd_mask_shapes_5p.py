# SSKD with other negatives: 'mask' instead of 'fusion'.
_base_ = './sskd_distill_shapes_5p.py'
model = dict(loss_contrast=dict(sampling='mask'))
