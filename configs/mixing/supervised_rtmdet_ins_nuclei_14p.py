# RTMDet-Ins on the labelled images, the teacher of the two rows below.
_base_ = '../_base_/methods/supervised_rtmdet_ins_nuclei.py'
