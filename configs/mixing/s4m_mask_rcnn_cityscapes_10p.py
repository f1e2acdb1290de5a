# S4M's student around a Mask R-CNN: refined pseudo-labels and copy-paste.
_base_ = [
    './guided_distillation_mask_rcnn_cityscapes_10p.py',
    '../_base_/methods/s4m.py',
    '../_base_/segmenters/sam2_hiera_large.py',
]

model = dict(
    refiner=dict(_base_.refiner, segmenter=_base_.segmenter),
    copy_paste=_base_.copy_paste,
    teacher_checkpoint='work_dirs/s4m_teacher_mask_rcnn_cityscapes_10p',
)
default_hooks = dict(refine_log=_base_.refine_log)
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=_base_.clean_student_pipeline))
)
