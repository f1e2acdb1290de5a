# S4M, stage 2: pseudo-labels refined by SAM 2 and pasted between images.
# Run it on 4 GPUs: 12 + 12 images.
_base_ = './guided_distillation_coco.py'

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
    copy_paste=dict(type='RefinedCopyPaste', mode='dynamic', min_area=3000),
)
default_hooks = dict(
    mean_teacher=dict(burn_in=25000),
    refine_log=dict(type='PseudoLabelRefineHook', draw_interval=500),
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
