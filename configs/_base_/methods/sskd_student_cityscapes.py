# SSKD's student, labelled images only, 8.
_base_ = [
    '../models/mask2former_dinov2_s_dpt.py',
    '../schedules/cityscapes_90k.py',
]

optim_wrapper = dict(optimizer=dict(lr=5e-5, weight_decay=0.1))
auto_scale_lr = dict(base_batch_size=8)
