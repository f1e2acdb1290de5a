# AdamW, poly decay without warm-up, 90k iterations.
_base_ = '../default_runtime.py'

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='SegmentorOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            # As in the released code, Swin's embeddings have no decay but a
            # ViT's have, and its 1x1 projections belong to the backbone.
            'absolute_pos_embed': dict(lr_mult=0.1, decay_mult=0.0),
            'relative_position_bias_table': dict(
                lr_mult=0.1, decay_mult=0.0
            ),
            'query_embed': dict(decay_mult=0.0),
            'query_feat': dict(decay_mult=0.0),
            'level_embed': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = dict(
    type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=90000, by_epoch=False
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=90000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    checkpoint=dict(interval=5000, save_best='cityscapes/mAP')
)
# The papers' total batch size, and the number of GPUs that reach it with the
# configs' batch size. Methods with another batch size override both.
auto_scale_lr = dict(enable=False, base_batch_size=16)
expected_gpus = 4
