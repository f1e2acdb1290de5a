# The data sets share these steps and loaders.
load = [dict(type='LoadCheckedImage'), dict(type='LoadLazyAnnotations')]
load_unlabeled = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadEmptyAnnotations'),
]
flip = dict(type='RandomFlip', prob=0.5)
colors = dict(type='SSDColorDistortion')
pack = dict(type='PackDetInputs')

# A pipeline ends with the branches of the batch that get the image.
labeled_branch = dict(type='MultiBranch', branch_field=['sup'], sup=[pack])
semi_branches = ['sup', 'unsup_teacher', 'unsup_student']
semi_labeled = dict(type='MultiBranch', branch_field=semi_branches, sup=[pack])
semi_unlabeled = dict(
    type='MultiBranch',
    branch_field=semi_branches,
    unsup_teacher=[pack],
    unsup_student=[pack],
)
pseudo_branches = ['sup', 'unsup']
pseudo_labeled = dict(
    type='MultiBranch', branch_field=pseudo_branches, sup=[pack]
)
pseudo_unlabeled = dict(
    type='MultiBranch', branch_field=pseudo_branches, unsup=[pack]
)

test_load = dict(type='LoadImageFromFile')
test_pack = [
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
        ),
    ),
]
# Box detectors need a scale factor, although the size does not change.
own_size = dict(type='Resize', scale_factor=1.0, keep_ratio=True)
own_size_pipeline = [test_load, own_size, *test_pack]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler'),
)
# Each GPU gets 4 labelled and 4 unlabelled images.
semi_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(
        type='SemiSampler', num_labeled=4, num_unlabeled=4, repeat_thr=10.0
    ),
)
# Each GPU gets 2 images, drawn uniformly from both sets.
pseudo_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SemiSampler'),
)
# tools/run_experiment.sh makes pseudo-labels of the teacher's boxes with a score
# above 0.3, at most 100 per image; a pixel belongs to the mask with the best
# score.
pseudo_options = dict(score_thr=0.3, max_per_image=100, non_overlapping=True)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
