# SPDX-License-Identifier: Apache-2.0
from .cityscapes_instance_metric import CityscapesInstanceMetric
from .coco_instance_metric import CocoInstanceMetric
from .file_quality import quality_of_file
from .pseudo_label_quality import MaskComparison, write_quality
from .teacher_quality import quality_of_teacher

__all__ = [
    'CityscapesInstanceMetric',
    'CocoInstanceMetric',
    'MaskComparison',
    'quality_of_file',
    'quality_of_teacher',
    'write_quality',
]
