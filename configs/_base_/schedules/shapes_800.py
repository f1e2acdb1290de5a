# All layers have one rate, as when the demo trained from scratch; a lower one for
# the pretrained backbone was not tried.
_base_ = './cityscapes_90k.py'

optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=1.0)}),
)
param_scheduler = dict(
    type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=800, by_epoch=False
)
train_cfg = dict(max_iters=800, val_interval=800)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=800, save_best=None)
)
auto_scale_lr = dict(base_batch_size=4)
expected_gpus = 1
