_base_ = './guided_distillation_cityscapes_5p.py'

model = dict(teacher_checkpoint='work_dirs/supervised_cityscapes_30p')
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file='annotations/semi/published@30.json'),
        unlabeled=dict(
            ann_file='annotations/semi/published@30-unlabeled.json'
        ),
    )
)
custom_hooks = [
    dict(type='BurnInMeanTeacherHook', burn_in=35000, momentum=0.0004),
    dict(type='RandomStateHook'),
]
