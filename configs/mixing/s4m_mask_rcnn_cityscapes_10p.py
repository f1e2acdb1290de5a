# S4M's student around a Mask R-CNN: refined pseudo-labels and copy-paste.
_base_ = './guided_distillation_mask_rcnn_cityscapes_10p.py'

model = dict(
    refiner=dict(
        type='PseudoLabelRefiner',
        segmenter=dict(
            type='SAM2Segmenter',
            config='sam2_hiera_large',
            checkpoint='checkpoints/sam2_hiera_large.pt',
        ),
    ),
    copy_paste=dict(type='RefinedCopyPaste', mode='static', min_area=3000),
    teacher_checkpoint='work_dirs/s4m_teacher_mask_rcnn_cityscapes_10p',
)
default_hooks = dict(
    refine_log=dict(type='PseudoLabelRefineHook', draw_interval=500)
)
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=_base_.clean_student_pipeline))
)
