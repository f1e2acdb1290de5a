# Nuclei in 240 iterations, with five validations, so that a log has the AP over
# the iterations. The last checkpoint counts, not the best one.
_base_ = './cityscapes_90k.py'

optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=1.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=24, by_epoch=False),
    dict(
        type='PolyLR', power=0.9, eta_min=0.0, begin=24, end=240, by_epoch=False
    ),
]
train_cfg = dict(max_iters=240, val_interval=48)
default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(interval=240, save_best=None)
)
auto_scale_lr = dict(base_batch_size=4)
expected_gpus = 1
