# S4M, stage 2, on Shapes, with the nano SAM 2.
_base_ = './guided_distillation_shapes_5p.py'

model = dict(
    refiner=dict(
        type='PseudoLabelRefiner',
        num_points=3,
        point_sampling='softmax',
        segmenter=dict(
            type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2'
        ),
    ),
    # Cityscapes' 3000 of 512 x 1024 pixels, at 128 x 256.
    copy_paste=dict(type='RefinedCopyPaste', mode='static', min_area=188),
    teacher_checkpoint='work_dirs/s4m_teacher_shapes_5p',
)
default_hooks = dict(
    refine_log=dict(type='PseudoLabelRefineHook', draw_interval=200)
)
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=_base_.clean_student_pipeline))
)
