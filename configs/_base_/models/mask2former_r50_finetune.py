# Mask2Former-R50 for fine-tuning: a few images do not change the statistics of
# batch normalisation.
_base_ = './mask2former_r50.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True
    )
)
