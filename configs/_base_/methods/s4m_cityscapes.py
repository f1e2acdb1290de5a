# S4M, stage 2, 16 + 16 images.
_base_ = [
    './guided_distillation_cityscapes.py',
    './s4m.py',
    '../segmenters/sam2_hiera_large.py',
]

model = dict(
    refiner=dict(_base_.refiner, segmenter=_base_.segmenter),
    copy_paste=_base_.copy_paste,
)
default_hooks = dict(refine_log=_base_.refine_log)
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=_base_.clean_student_pipeline))
)
