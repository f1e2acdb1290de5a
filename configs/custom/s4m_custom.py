# S4M on your COCO-format data: guided_distillation_custom.py and SAM 2.
_base_ = './guided_distillation_custom.py'

model = dict(
    refiner=dict(
        type='PseudoLabelRefiner',
        segmenter=dict(
            type='SAM2Segmenter',
            config='sam2.1_hiera_large',
            checkpoint='checkpoints/sam2.1_hiera_large.pt',
        ),
    ),
    copy_paste=dict(type='RefinedCopyPaste', mode='static', min_area=3000),
)
default_hooks = dict(
    refine_log=dict(type='PseudoLabelRefineHook', draw_interval=500)
)
# Copy-paste starts from the images' own colours.
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=_base_.clean_student_pipeline))
)
