# S4M, stage 1: labelled images and structural distillation from SAM 2.
# Run it on 4 GPUs: 4 images, a quarter of Guided Distillation's teacher.
_base_ = './supervised_cityscapes.py'

model = dict(
    type='DistillMask2Former',
    segmenter=dict(
        type='SAM2Segmenter',
        config='sam2_hiera_large',
        checkpoint='checkpoints/sam2_hiera_large.pt',
    ),
    loss_distill=dict(
        type='StructuralDistillationLoss', beta=1.0, loss_weight=1.0
    ),
    num_points=128,
)
train_dataloader = dict(batch_size=1)
auto_scale_lr = dict(base_batch_size=4)
