# All of train2017's labels; unlabeled2017 is the unlabelled set.
labeled_ann = 'annotations/instances_train2017.json'
labeled_split = dict(dataset=dict(ann_file=labeled_ann))
semi_split = dict(
    dataset=dict(
        labeled=dict(ann_file=labeled_ann),
        unlabeled=dict(
            ann_file='semi_anns/image_info_unlabeled2017.json',
            data_prefix=dict(img='unlabeled2017/'),
        ),
    )
)
