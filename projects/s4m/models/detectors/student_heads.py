# SPDX-License-Identifier: Apache-2.0
"""What the student's head takes as targets."""

from __future__ import annotations

from mmdet.utils import InstanceList
from torch import nn


def kind_of_target_masks(student: nn.Module) -> str:
    """Return the kind of masks that the student's head takes.

    Args:
        student (nn.Module): Detector of the student.

    Returns:
        str: The class attribute ``target_masks`` of a part of the detector,
        or else ``bitmap``; see
        :func:`~s4m.structures.project_pseudo_instances`.
    """
    kinds = (
        str(part.target_masks)
        for part in student.children()
        if hasattr(part, 'target_masks')
    )
    return next(kinds, 'bitmap')


def check_weights_are_read(student: nn.Module, targets: InstanceList) -> None:
    """Refuse weights of pseudo-labels that the losses would ignore.

    Args:
        student (nn.Module): Detector of the student. The part that reads the
            weights has the class attribute ``reads_weights = True``.
        targets (list[InstanceData]): Targets of each image.

    Raises:
        ValueError: if targets have ``weights`` and no part reads them.
    """
    if not any('weights' in target for target in targets):
        return
    if not any(getattr(p, 'reads_weights', False) for p in student.children()):
        raise ValueError(
            "Pseudo-labels have weights (a labeller's weight_by, a refiner's "
            f'weight_by_iou), which the {type(student).__name__} of the '
            'student does not read. '
            'Remove the option, or train a DistillMask2FormerHead, a '
            'BatchedMaskFormerHead, a BatchedRTMDetInsHead or a head of '
            'yours that reads weights '
            'and has the class attribute reads_weights = True.'
        )
