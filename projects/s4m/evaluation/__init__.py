# SPDX-License-Identifier: Apache-2.0
from .cityscapes_instance_metric import CityscapesInstanceMetric

__all__ = ['CityscapesInstanceMetric']
