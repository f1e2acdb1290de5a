# S4M, stage 1, 4 images: a quarter of Guided Distillation's teacher.
_base_ = ['./supervised_cityscapes.py', './s4m_teacher.py']

model = dict(
    _base_.distill, data_preprocessor=dict(type='SemiDataPreprocessor')
)
train_dataloader = dict(batch_size=1)
auto_scale_lr = dict(base_batch_size=4)
