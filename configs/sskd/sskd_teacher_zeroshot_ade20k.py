# The teacher as it was pre-trained: tools/test.sh CONFIG none
_base_ = ['../_base_/methods/sskd_teacher_ade20k.py', '../_base_/datasets/ade20k_labeled_branch.py']
