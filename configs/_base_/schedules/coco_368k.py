# AdamW, 368750 iterations, a tenth of the rate at 327778 and 355092.
_base_ = './cityscapes_90k.py'

param_scheduler = dict(
    _delete_=True,
    type='MultiStepLR',
    begin=0,
    end=368750,
    by_epoch=False,
    milestones=[327778, 355092],
    gamma=0.1,
)
train_cfg = dict(max_iters=368750)
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
auto_scale_lr = dict(base_batch_size=16)
