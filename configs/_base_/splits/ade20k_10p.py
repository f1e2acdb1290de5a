# 10 % of ADE20K's labels, fold 1 (coco_splits.py data/ADEChallengeData2016
# --ann ade20k_instance_train.json --percent 10); all images are unlabelled.
labeled_ann = 'semi_anns/ade20k_instance_train.1@10.json'
labeled_split = dict(dataset=dict(ann_file=labeled_ann))
semi_split = dict(
    dataset=dict(
        labeled=dict(ann_file=labeled_ann),
        unlabeled=dict(
            ann_file='semi_anns/ade20k_instance_train.all-unlabeled.json'
        ),
    )
)
