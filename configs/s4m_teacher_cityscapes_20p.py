_base_ = './s4m_teacher_cityscapes_5p.py'

train_dataloader = dict(
    dataset=dict(ann_file='annotations/semi/published@20.json')
)
