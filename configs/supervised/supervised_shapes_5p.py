_base_ = '../_base_/methods/supervised_shapes.py'
