# Guided Distillation of a RTMDet-Ins. Thresholds are not tuned.
_base_ = [
    '../_base_/models/rtmdet_ins_s.py',
    '../_base_/methods/semi_cityscapes.py',
    '../_base_/splits/cityscapes_10p.py',
]

model = dict(
    _base_.semi_model,
    _delete_=True,
    detector=_base_.model,
    data_preprocessor=dict(
        _base_.model.data_preprocessor, type='SemiDataPreprocessor'
    ),
    pseudo_labeler=dict(type='PredictionPseudoLabeler', score_thr=0.5),
    teacher_checkpoint='work_dirs/supervised_rtmdet_ins_cityscapes_10p',
)
default_hooks = dict(mean_teacher=dict(burn_in=25000))
train_dataloader = _base_.semi_split
train_dataloader.dataset.labeled.pipeline = _base_.visible_labeled_pipeline
