# Remedies against wrong pseudo-labels (docs/remedies.md). A run is a row, this
# file and one line: `model = _base_.` or `default_hooks = _base_.` a name.
# Thresholds are starting points; none is tuned.

# model: one pseudo-label for each object.
no_duplicates = dict(pseudo_labeler=dict(nms_iou_thr=0.5))
# model, with a refiner: one pseudo-label for each mask of the segmenter.
no_refined_duplicates = dict(refiner=dict(nms_iou_thr=0.5))
# model, with a refiner: teacher and segmenter agree, or count as they agree.
segmenter_agrees = dict(refiner=dict(min_refine_iou=0.5))
weights_by_iou = dict(refiner=dict(weight_by_iou=True))
# model: the teacher finds the object in the mirrored image too.
views_agree = dict(
    pseudo_labeler=dict(
        _delete_=True,
        type='ViewAgreementPseudoLabeler',
        iou_thr=0.5,
        labeler=dict(type='QueryPseudoLabeler', cls_thr=0.7, size_thr=5.0),
    )
)
# model: pseudo-labels count by their class and mask scores.
weights_by_score = dict(pseudo_labeler=dict(weight_by='mask_score'))
# model: only labelled images update the student's BatchNorm statistics.
labeled_statistics = dict(semi_train_cfg=dict(bn_stats='labeled'))
# default_hooks: thresholds of the classes by precision on labelled images.
precise_thresholds = dict(
    thresholds=dict(type='PrecisionThresholdHook', precision=0.9, interval=50)
)
# default_hooks: the student's copy stays as it is for another 100 iterations.
late_average = dict(mean_teacher=dict(ema_start=100))
