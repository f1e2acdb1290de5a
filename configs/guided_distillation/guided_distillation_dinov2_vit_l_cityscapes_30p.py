_base_ = ['./guided_distillation_cityscapes_30p.py', '../_base_/backbones/dinov2_vit_l.py']
teacher = 'work_dirs/supervised_dinov2_vit_l_cityscapes_30p'
model = dict(detector=_base_.backbone_cfg, teacher_checkpoint=teacher)
