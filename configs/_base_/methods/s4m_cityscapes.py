# S4M, stage 2: pseudo-labels refined by SAM 2 and pasted between images.
# Run it on 4 GPUs: 16 + 16 images.
_base_ = './guided_distillation_cityscapes.py'

model = dict(
    refiner=dict(
        type='PseudoLabelRefiner',
        num_points=3,
        point_sampling='softmax',
        segmenter=dict(
            type='SAM2Segmenter',
            config='sam2_hiera_large',
            checkpoint='checkpoints/sam2_hiera_large.pt',
        ),
    ),
    copy_paste=dict(type='RefinedCopyPaste', mode='static', min_area=3000),
)
default_hooks = dict(
    refine_log=dict(type='PseudoLabelRefineHook', draw_interval=500)
)
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=_base_.clean_student_pipeline))
)
