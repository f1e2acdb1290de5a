_base_ = ['./guided_distillation_cityscapes_10p.py', '../_base_/backbones/dinov2_vit_b.py']
teacher = 'work_dirs/supervised_dinov2_vit_b_cityscapes_10p'
model = dict(detector=_base_.backbone_cfg, teacher_checkpoint=teacher)
