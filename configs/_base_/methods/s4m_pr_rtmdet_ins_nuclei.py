# + PR: the nano SAM 2 refines the pseudo-labels of the nano RTMDet-Ins.
_base_ = [
    './guided_distillation_rtmdet_ins_nuclei.py',
    './s4m.py',
    '../segmenters/nano_sam2.py',
]

model = dict(refiner=dict(_base_.refiner, segmenter=_base_.segmenter))
default_hooks = dict(refine_log=dict(_base_.refine_log, draw_interval=200))
