# Fine-tuning of SSKD's detector: AdamW 5e-5, 1000 iterations of 8 images, a
# tenth of the rate at 700 and 900. If SAM 2's neck and mask decoder train, their
# rate is 1e-5 (assumed).
_base_ = './cityscapes_90k.py'

optim_wrapper = dict(
    optimizer=dict(lr=5e-5, weight_decay=0.01),
    clip_grad=dict(max_norm=0.1),
    paramwise_cfg=dict(custom_keys={'segmenter': dict(lr_mult=0.2)}),
)
param_scheduler = dict(
    _delete_=True,
    type='MultiStepLR',
    begin=0,
    end=1000,
    by_epoch=False,
    milestones=[700, 900],
    gamma=0.1,
)
train_cfg = dict(max_iters=1000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
auto_scale_lr = dict(base_batch_size=8)
