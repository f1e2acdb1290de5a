# Guided Distillation, Mask2Former-R50, 16 + 16 images.
_base_ = ['../models/mask2former_r50.py', './semi_cityscapes.py']

model = dict(
    _base_.semi_model,
    _delete_=True,
    detector=_base_.model,
    data_preprocessor=dict(
        _base_.model.data_preprocessor, type='SemiDataPreprocessor'
    ),
)
