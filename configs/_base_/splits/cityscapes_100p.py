# All of Cityscapes' labels; the 20k images of train_extra are unlabelled.
train_ann = 'annotations/instancesonly_filtered_gtFine_train.json'
labeled_split = dict(dataset=dict(ann_file=train_ann))
semi_split = dict(
    dataset=dict(
        labeled=dict(ann_file=train_ann),
        unlabeled=dict(
            ann_file='annotations/train_extra-unlabeled.json',
            data_prefix=dict(img='leftImg8bit/train_extra/'),
        ),
    )
)
