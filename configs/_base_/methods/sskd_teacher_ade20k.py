# SSKD's teacher for ADE20K. The names of 100 classes exceed the text
# encoder's 256 tokens, so a prompt has 40 names (assumed).
_base_ = './sskd_teacher.py'

model = dict(
    detector=dict(test_cfg=dict(chunked_size=40)),
    classes_per_prompt=40,
    classes=(
        'bed', 'windowpane', 'cabinet', 'person', 'door', 'table', 'curtain',
        'chair', 'car', 'painting', 'sofa', 'shelf', 'mirror', 'armchair',
        'seat', 'fence', 'desk', 'wardrobe', 'lamp', 'bathtub', 'railing',
        'cushion', 'box', 'column', 'signboard', 'chest of drawers', 'counter',
        'sink', 'fireplace', 'refrigerator', 'stairs', 'case', 'pool table',
        'pillow', 'screen door', 'bookcase', 'coffee table', 'toilet',
        'flower', 'book', 'bench', 'countertop', 'stove', 'palm',
        'kitchen island', 'computer', 'swivel chair', 'boat', 'arcade machine',
        'bus', 'towel', 'light', 'truck', 'chandelier', 'awning',
        'streetlight', 'booth', 'television receiver', 'airplane', 'apparel',
        'pole', 'bannister', 'ottoman', 'bottle', 'van', 'ship', 'fountain',
        'washer', 'plaything', 'stool', 'barrel', 'basket', 'bag', 'minibike',
        'oven', 'ball', 'food', 'step', 'trade name', 'microwave', 'pot',
        'animal', 'bicycle', 'dishwasher', 'screen', 'sculpture', 'hood',
        'sconce', 'vase', 'traffic light', 'tray', 'ashcan', 'fan', 'plate',
        'monitor', 'bulletin board', 'radiator', 'glass', 'clock', 'flag',
    ),
    data_preprocessor=dict(
        batch_augments=[
            dict(type='BatchFixedSizePad', size=(630, 630), pad_mask=True)
        ]
    ),
)
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
