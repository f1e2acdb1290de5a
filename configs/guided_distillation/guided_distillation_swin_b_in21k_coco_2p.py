_base_ = ['./guided_distillation_coco_2p.py', '../_base_/backbones/swin_b_in21k.py']
teacher = 'work_dirs/supervised_swin_b_in21k_coco_2p'
model = dict(detector=_base_.backbone_cfg, teacher_checkpoint=teacher)
