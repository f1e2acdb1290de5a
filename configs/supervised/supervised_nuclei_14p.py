# Labelled images only, the teacher of Guided Distillation.
_base_ = '../_base_/methods/supervised_nuclei.py'
