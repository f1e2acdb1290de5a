# No strong augmentation (Figure 6, "Same").
_base_ = './guided_distillation_cityscapes_5p.py'
model = dict(strong_augment=None)
