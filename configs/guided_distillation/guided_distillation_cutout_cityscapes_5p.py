# Strong augmentation and cutout (Figure 6, "PT").
_base_ = './guided_distillation_cityscapes_5p.py'
model = dict(strong_augment=dict(cutout=True))
