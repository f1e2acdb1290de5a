# The teacher as it was pre-trained: tools/test.sh CONFIG none
_base_ = ['../_base_/methods/sskd_teacher_cityscapes.py', '../_base_/datasets/cityscapes_labeled_branch.py']
