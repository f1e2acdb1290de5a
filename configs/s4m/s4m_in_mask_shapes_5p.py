# S4M with the paper's point sampling instead of the released one.
_base_ = './s4m_shapes_5p.py'
model = dict(refiner=dict(point_sampling='in_mask'))
