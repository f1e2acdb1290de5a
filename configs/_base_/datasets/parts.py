# Steps and loaders that the data sets share.
load = [dict(type='LoadCheckedImage'), dict(type='LoadLazyAnnotations')]
load_unlabeled = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadEmptyAnnotations'),
]
flip = dict(type='RandomFlip', prob=0.5)
colors = dict(type='SSDColorDistortion')
pack = dict(type='PackDetInputs')

# What a step ends with: the branches of a batch that an image goes to.
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
# Changes nothing, but says so: box detectors want a scale factor.
own_size = dict(type='Resize', scale_factor=1.0, keep_ratio=True)
own_size_pipeline = [test_load, own_size, *test_pack]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler'),
)
# 4 labelled and 4 unlabelled images per GPU.
semi_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(
        type='SemiSampler', num_labeled=4, num_unlabeled=4, repeat_thr=10.0
    ),
)
# 2 images per GPU, drawn uniformly from labelled and pseudo-labelled ones.
pseudo_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SemiSampler'),
)
# How tools/run_experiment.sh makes a file of pseudo-labels: the teacher's boxes
# with a score above 0.3, at most 100 an image, pixels to the mask with the best
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
