# Stage 3: the student on labelled images only (assumed: 10k iterations, 1e-5).
_base_ = './sskd_student_cityscapes.py'

optim_wrapper = dict(optimizer=dict(lr=1e-5))
train_cfg = dict(max_iters=10000, val_interval=1000)
param_scheduler = dict(end=10000)
default_hooks = dict(checkpoint=dict(interval=1000))
