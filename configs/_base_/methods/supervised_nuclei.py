# Labelled images only: 6 of the 44 training images of Nuclei.
_base_ = [
    '../models/mask2former_nano_nuclei.py',
    '../datasets/nuclei_instance.py',
    '../schedules/nuclei_240.py',
]
