# The words that a text-prompted detector gets for Cityscapes' and Shapes' classes.
classes = (
    'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle',
)
