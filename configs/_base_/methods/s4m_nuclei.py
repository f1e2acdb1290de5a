# S4M, stage 2, on Nuclei, with the nano SAM 2.
_base_ = [
    './guided_distillation_nuclei.py',
    './s4m.py',
    '../segmenters/nano_sam2.py',
]

model = dict(
    refiner=dict(_base_.refiner, segmenter=_base_.segmenter),
    # Cityscapes' 3000 of 512 x 1024 pixels, at 128 x 128, would be 94: more
    # than most nuclei have.
    copy_paste=dict(_base_.copy_paste, min_area=64),
)
default_hooks = dict(refine_log=dict(_base_.refine_log, draw_interval=200))
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=_base_.clean_student_pipeline))
)
