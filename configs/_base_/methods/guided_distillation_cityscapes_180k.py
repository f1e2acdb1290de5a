# All labels and 20k more images need twice the iterations.
_base_ = './guided_distillation_cityscapes.py'

train_cfg = dict(max_iters=180000)
param_scheduler = dict(end=180000)
