# Stage 3 on Shapes: a tenth of the iterations and of the rate.
_base_ = './sskd_student_shapes.py'

optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_cfg = dict(max_iters=80, val_interval=80)
param_scheduler = dict(
    _delete_=True,
    type='PolyLR',
    power=0.9,
    eta_min=0.0,
    begin=0,
    end=80,
    by_epoch=False,
)
default_hooks = dict(checkpoint=dict(interval=80))
