# Guided Distillation with a weight for each pseudo-label.
_base_ = '../../configs/guided_distillation/guided_distillation_shapes_5p.py'
custom_imports = dict(imports=['s4m', 'examples.weighted_pseudo_labels'])
model = dict(pseudo_labeler=dict(type='ScoreWeightedLabeler', power=2.0))
