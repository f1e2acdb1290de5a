_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['s4m'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='DeferredRuntimeInfoHook'),
    annotation_check=dict(type='AnnotationCheckHook'),
    random_state=dict(type='RandomStateHook'),
    stop_signal=dict(type='StopSignalHook'),
    # The results of a validation are logged at its iteration, not at epoch 0.
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        max_keep_ckpts=2,
        rule='greater',
    ),
)
log_processor = dict(by_epoch=False)
