# S4M on your COCO-format data: guided_distillation_custom.py and SAM 2.
_base_ = [
    './guided_distillation_custom.py',
    '../_base_/methods/s4m.py',
    '../_base_/segmenters/sam2.1_hiera_large.py',
]

model = dict(
    refiner=dict(_base_.refiner, segmenter=_base_.segmenter),
    copy_paste=_base_.copy_paste,
)
default_hooks = dict(refine_log=_base_.refine_log)
# Copy-paste starts from the original colours.
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=_base_.clean_student_pipeline))
)
