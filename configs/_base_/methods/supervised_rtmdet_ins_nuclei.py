# A nano RTMDet-Ins on Nuclei, labelled images only.
_base_ = [
    '../models/rtmdet_ins_nano_nuclei.py',
    '../datasets/nuclei_instance.py',
    '../schedules/nuclei_240.py',
]

optim_wrapper = _base_.rtmdet_optim
