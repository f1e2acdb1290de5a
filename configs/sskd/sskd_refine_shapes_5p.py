# Stage 3: the student of stage 2 on labelled images.
_base_ = ['../_base_/methods/sskd_refine_shapes.py', '../_base_/datasets/shapes_instance.py']
load_from = 'work_dirs/sskd_distill_shapes_5p/iter_800.pth'
