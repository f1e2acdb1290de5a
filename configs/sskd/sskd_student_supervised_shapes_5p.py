# The student without a teacher: labelled images only.
_base_ = ['../_base_/methods/sskd_student_shapes.py', '../_base_/datasets/shapes_instance.py']
