_base_ = ['./guided_distillation_cityscapes_10p.py', '../_base_/backbones/swin_l.py']
teacher = 'work_dirs/supervised_swin_l_cityscapes_10p'
model = dict(detector=_base_.backbone_cfg, teacher_checkpoint=teacher)
