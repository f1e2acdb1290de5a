# Stage 3 on Shapes: a tenth of the iterations and of the rate.
_base_ = './sskd_student_shapes.py'

optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_cfg = dict(max_iters=80, val_interval=80)
param_scheduler = dict(end=80)
default_hooks = dict(checkpoint=dict(interval=80))
