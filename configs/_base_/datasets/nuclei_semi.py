# Nuclei, 4 labelled and 4 unlabelled images per batch, with Cityscapes' views.
# The unlabelled set is all 44 images, the 6 labelled ones among them, as in S4M.
_base_ = './nuclei_instance.py'

load_and_crop = [*_base_.load_unlabeled, *_base_.geometry]
# In Guided Distillation the student augments the image of the teacher.
unlabeled_pipeline = [*load_and_crop, _base_.colors, _base_.semi_unlabeled]
# With S4M's copy-paste, the student's view starts from the original colours.
clean_student_pipeline = [
    *load_and_crop,
    dict(_base_.semi_unlabeled, unsup_teacher=[_base_.colors, _base_.pack]),
]

labeled_dataset = dict(
    _base_.train_dataloader.dataset,
    pipeline=[*_base_.steps, _base_.semi_labeled],
)
train_dataloader = dict(
    _base_.semi_dataloader,
    _delete_=True,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='SemiDataset',
        labeled=labeled_dataset,
        unlabeled=dict(
            labeled_dataset,
            ann_file='annotations/unlabeled.json',
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=unlabeled_pipeline,
        ),
    ),
)
