# All of Cityscapes' labels; the 20k images of train_extra are unlabelled
# (tools/dataset_converters/images_to_coco.py data/cityscapes/leftImg8bit/train_extra
# --categories data/cityscapes/annotations/instancesonly_filtered_gtFine_train.json
# --out data/cityscapes/annotations/train_extra-unlabeled.json).
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
