# The semi-supervised model takes any detector that a query-based labeller
# supports: dict(_base_.semi_model, _delete_=True, detector=_base_.model, ...).
semi_model = dict(
    type='SemiInstanceSegmentor',
    pseudo_labeler=dict(type='QueryPseudoLabeler', cls_thr=0.7, size_thr=5.0),
    strong_augment=dict(type='StrongAugment'),
    semi_train_cfg=dict(sup_weight=1.0, unsup_weight=2.0),
    semi_test_cfg=dict(predict_on='student'),
)
# Logs pseudo-labels and warns when the AP begins to fall.
drift_log = dict(type='PseudoLabelDriftHook')
