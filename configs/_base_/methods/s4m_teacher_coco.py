# S4M, stage 1, 16 images.
_base_ = ['./supervised_coco.py', './s4m_teacher.py']

model = dict(
    _base_.distill, data_preprocessor=dict(type='SemiDataPreprocessor')
)
