_base_ = ['./guided_distillation_coco_5p.py', '../_base_/backbones/swin_l.py']
teacher = 'work_dirs/supervised_swin_l_coco_5p'
model = dict(detector=_base_.backbone_cfg, teacher_checkpoint=teacher)
