# 10 % of Cityscapes' labels; all images of the training set are unlabelled.
labeled_split = dict(
    dataset=dict(ann_file='annotations/semi/published@10.json')
)
semi_split = dict(
    dataset=dict(
        labeled=dict(ann_file='annotations/semi/published@10.json'),
        unlabeled=dict(
            ann_file='annotations/semi/published@10-unlabeled.json'
        ),
    )
)
