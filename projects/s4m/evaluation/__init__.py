# SPDX-License-Identifier: Apache-2.0
from .ap_history import ApHistory
from .cityscapes_instance_metric import CityscapesInstanceMetric
from .coco_instance_metric import CocoInstanceMetric
from .duplicate_labels import duplicate_labels
from .file_quality import quality_of_file
from .label_matches import LabelMatches
from .pseudo_label_quality import MaskComparison, write_quality
from .teacher_quality import TeacherQuality, quality_of_teacher

__all__ = [
    'ApHistory',
    'CityscapesInstanceMetric',
    'CocoInstanceMetric',
    'LabelMatches',
    'MaskComparison',
    'TeacherQuality',
    'duplicate_labels',
    'quality_of_file',
    'quality_of_teacher',
    'write_quality',
]
