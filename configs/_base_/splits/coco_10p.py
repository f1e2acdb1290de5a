# 10 % of train2017's labels, fold 1; Guided Distillation takes the other images
# as unlabelled, S4M all of them.
labeled_ann = 'semi_anns/instances_train2017.1@10.json'
labeled_split = dict(dataset=dict(ann_file=labeled_ann))
semi_split = dict(
    dataset=dict(
        labeled=dict(ann_file=labeled_ann),
        unlabeled=dict(
            ann_file='semi_anns/instances_train2017.1@10-unlabeled.json'
        ),
    )
)
semi_split_all = dict(dataset=dict(labeled=dict(ann_file=labeled_ann)))
