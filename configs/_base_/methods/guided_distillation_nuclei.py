# Guided Distillation on Nuclei.
_base_ = ['../models/mask2former_nano_nuclei.py', './semi_nuclei.py']

model = dict(
    _base_.semi_model,
    _delete_=True,
    detector=_base_.model,
    data_preprocessor=dict(
        _base_.model.data_preprocessor, type='SemiDataPreprocessor'
    ),
)
