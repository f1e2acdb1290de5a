# Fine-tuning on a few images: AdamW and poly decay, as on Cityscapes. The config
# that `s4m train` writes sets the rate and the length.
_base_ = './cityscapes_90k.py'

default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(save_best=None, max_keep_ckpts=1),
)
expected_gpus = None
