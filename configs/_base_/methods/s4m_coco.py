# S4M, stage 2, 12 + 12 images.
_base_ = [
    './guided_distillation_coco.py',
    './s4m.py',
    '../segmenters/sam2_hiera_large.py',
]

model = dict(
    refiner=dict(_base_.refiner, segmenter=_base_.segmenter),
    copy_paste=dict(_base_.copy_paste, mode='dynamic'),
)
default_hooks = dict(
    mean_teacher=dict(burn_in=25000), refine_log=_base_.refine_log
)
train_dataloader = dict(
    batch_size=6,
    sampler=dict(num_labeled=3, num_unlabeled=3),
    dataset=dict(
        unlabeled=dict(
            ann_file='semi_anns/instances_train2017.all-unlabeled.json'
        )
    ),
)
auto_scale_lr = dict(base_batch_size=24)
