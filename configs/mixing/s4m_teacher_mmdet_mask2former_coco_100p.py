# MMDetection's own Mask2Former config, and SAM 2's structure beside it.
_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    '../_base_/methods/s4m_teacher.py',
]
custom_imports = dict(imports=['s4m'], allow_failed_imports=False)

model = _base_.distill
default_hooks = dict(random_state=dict(type='RandomStateHook'))
expected_gpus = 8
