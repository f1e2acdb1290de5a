_base_ = ['./guided_distillation_coco_2p.py', '../_base_/backbones/dinov2_vit_b.py']
teacher = 'work_dirs/supervised_dinov2_vit_b_coco_2p'
model = dict(detector=_base_.backbone_cfg, teacher_checkpoint=teacher)
