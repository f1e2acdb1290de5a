_base_ = './s4m_cityscapes_5p.py'

model = dict(teacher_checkpoint='work_dirs/s4m_teacher_cityscapes_20p')
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file='annotations/semi/published@20.json'),
        unlabeled=dict(
            ann_file='annotations/semi/published@20-unlabeled.json'
        ),
    )
)
