# MMDetection's own Mask2Former config, and SAM 2's structure beside it.
_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'
custom_imports = dict(imports=['s4m'], allow_failed_imports=False)

model = dict(
    type='DistillMask2Former',
    segmenter=dict(
        type='SAM2Segmenter',
        config='sam2_hiera_large',
        checkpoint='checkpoints/sam2_hiera_large.pt',
    ),
    loss_distill=dict(type='StructuralDistillationLoss'),
    num_points=128,
)
default_hooks = dict(random_state=dict(type='RandomStateHook'))
