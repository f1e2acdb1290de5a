# SSKD with other negatives: 'uniform' instead of 'fusion'.
_base_ = './sskd_distill_shapes_5p.py'
model = dict(loss_contrast=dict(sampling='uniform'))
