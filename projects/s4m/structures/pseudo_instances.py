# SPDX-License-Identifier: Apache-2.0
"""The contract of pseudo-labels between labeller, refiner and student."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from .masks import (
    masks_at_image_size,
    masks_to_boxes,
    resize_masks,
    spatial_size,
)


@dataclass(frozen=True)
class Field:
    """One field of pseudo-labels; its first dimension is the n instances.

    Attributes:
        dims (int): Number of dimensions, 1 or 3.
        dtype (str): ``int``, ``float`` or ``bool``.
        size (str): Height and width: ``logits`` is (h, w), any size that all
            images of a batch share; ``either`` is (h, w), or (H, W) of the
            padded image. Empty for one dimension.
        writer (str): Step that writes the field.
        reader (str): Step that reads it.
        required (bool): Whether every pseudo-label has the field. Defaults
            to False.
    """

    dims: int
    dtype: str
    size: str
    writer: str
    reader: str
    required: bool = False


#: Fields of the ``InstanceData`` of one image, n pseudo-labels. A labeller may
#: add other fields with one value for each instance: later steps keep them,
#: targets do not.
FIELDS = {
    'labels': Field(1, 'int', '', 'labeller', 'student', True),
    'scores': Field(1, 'float', '', 'labeller', 'student', True),
    'masks': Field(3, 'bool', 'either', 'labeller, refiner', 'all', True),
    'mask_logits': Field(3, 'float', 'logits', 'labeller', 'refiner, paste'),
    'weights': Field(1, 'float', '', 'labeller, refiner', 'student'),
    'refined': Field(1, 'bool', '', 'refiner', 'refinement log'),
    'refine_iou': Field(1, 'float', '', 'refiner', 'refiner, log'),
    'pasted': Field(1, 'bool', '', 'copy-paste', 'strong augmentation'),
}

#: Fields that the student's targets have beside labels and masks.
TARGET_FIELDS = ('scores', 'weights')

#: Kinds of masks that a head takes as targets: ``tensor`` is bool tensors at
#: the teacher's resolution, ``bitmap`` is MMDet's ``BitmapMasks`` with boxes.
TARGET_MASKS = ('tensor', 'bitmap')

_MAPS = ('masks', 'mask_logits')


@dataclass
class PseudoLabelSteps:
    """All intermediate results of one batch of unlabelled images.

    Images are (B, 3, H, W) RGB in 0..255. Pseudo-labels are one
    ``InstanceData`` with :data:`FIELDS` for each image. The student's fields
    (``images``, ``pasted_images``, ``pasted``, ``strong_images``) are None
    where the batch has no view of the student.

    Attributes:
        teacher_images (Tensor): View of the teacher.
        teacher (list[InstanceData]): Pseudo-labels of the labeller.
        instances (list[InstanceData]): Pseudo-labels of the last step that
            ran, from which the student learns.
        refined (list[InstanceData], optional): Refined pseudo-labels; None
            without a refiner.
        images (Tensor, optional): View of the student before copy-paste.
        pasted_images (Tensor, optional): View of the student after
            copy-paste; without copy-paste the same as ``images``.
        pasted (list[InstanceData], optional): Pseudo-labels after copy-paste;
            None without copy-paste.
        strong_images (Tensor, optional): View of the student after copy-paste
            and strong augmentation, on which it trains.
    """

    teacher_images: Tensor
    teacher: InstanceList
    instances: InstanceList
    refined: InstanceList | None = None
    images: Tensor | None = None
    pasted_images: Tensor | None = None
    pasted: InstanceList | None = None
    strong_images: Tensor | None = None


def replace_fields(item: InstanceData, **fields: Tensor) -> InstanceData:
    """Copy pseudo-labels with other values of some fields.

    Args:
        item (InstanceData): Pseudo-labels, which are not changed.
        **fields: New values by the names of their fields.

    Returns:
        InstanceData: A new object that shares the other fields' tensors.

    Example:
        >>> item = InstanceData(labels=torch.tensor([3]))
        >>> sorted(replace_fields(item, scores=torch.ones(1)).keys())
        ['labels', 'scores']
    """
    return InstanceData(
        metainfo=dict(item.metainfo), **{**dict(item.items()), **fields}
    )


def join_instances(first: InstanceData, second: InstanceData) -> InstanceData:
    """Join the pseudo-labels of two images into those of one.

    Args:
        first (InstanceData): Pseudo-labels that come first.
        second (InstanceData): Pseudo-labels that come after them.

    Returns:
        InstanceData: A new object with the fields that both images have,
        except for masks and mask logits.
    """
    names = [
        k for k in first.keys() if k in second.keys() and k not in _MAPS
    ]  # fmt: skip
    return InstanceData(**{k: torch.cat([first[k], second[k]]) for k in names})


def check_pseudo_instances(
    instances: InstanceList, image_size: tuple[int, int]
) -> None:
    """Refuse pseudo-labels that break the contract of :data:`FIELDS`.

    Only shapes and dtypes are checked, so the host does not have to wait for
    the device.

    Args:
        instances (list[InstanceData]): Pseudo-labels of each image.
        image_size (tuple[int, int]): (H, W) of the padded images.

    Raises:
        ValueError: if a required field is missing, or a field has the wrong
            dtype or shape.
    """
    for i, item in enumerate(instances):
        for name, field in FIELDS.items():
            if name in item:
                _check_field(item, name, field, image_size, i)
            elif field.required:
                raise ValueError(
                    f'Pseudo-labels of image {i} have no field {name!r}, '
                    f'which the {field.writer} writes; they have '
                    f'{sorted(item.keys())}.'
                )


def _check_field(
    item: InstanceData,
    name: str,
    field: Field,
    image_size: tuple[int, int],
    image: int,
) -> None:
    value = item[name]
    where = f'Field {name!r} of the pseudo-labels of image {image}'
    dtypes = {
        'int': value.dtype == torch.int64,
        'bool': value.dtype == torch.bool,
        'float': value.is_floating_point(),
    }
    if value.dim() != field.dims or not dtypes[field.dtype]:
        raise ValueError(
            f'{where} has {value.dim()} dimensions of {value.dtype}, but '
            f'should have {field.dims} of kind {field.dtype}.'
        )
    if field.size != 'either' or spatial_size(value) == image_size:
        return
    logits = item.get('mask_logits')
    if logits is None or logits.shape[1:] != value.shape[1:]:
        raise ValueError(
            f'{where} has {tuple(value.shape[1:])} pixels (height, width), '
            f'but should have those of the padded image, {image_size}, or of '
            'a field mask_logits.'
        )


def project_pseudo_instances(
    instances: InstanceList,
    image_size: tuple[int, int],
    target_masks: str,
    mask_size: tuple[int, int],
) -> InstanceList:
    """Convert pseudo-labels to the targets of the student's head.

    Args:
        instances (list[InstanceData]): Pseudo-labels of each image.
        image_size (tuple[int, int]): (H, W) of the padded images.
        target_masks (str): Kind of targets: ``tensor`` stands for bool masks
            at ``mask_size``, ``bitmap`` for ``BitmapMasks`` at
            ``image_size`` with boxes. A head names the kind that it takes in
            its class attribute ``target_masks``.
        mask_size (tuple[int, int]): (h, w) of the teacher's masks.

    Returns:
        list[InstanceData]: New objects with ``labels``, ``masks``, perhaps
        ``bboxes``, and ``scores`` and ``weights`` where the pseudo-labels
        have them.

    Raises:
        ValueError: if ``target_masks`` is neither of the two.
    """
    if target_masks not in TARGET_MASKS:
        raise ValueError(
            f'target_masks must be one of {TARGET_MASKS}, got {target_masks!r}'
        )
    if target_masks == 'bitmap':
        return [detector_targets(item, image_size) for item in instances]
    return [
        InstanceData(
            labels=item.labels,
            masks=resize_masks(item.masks, mask_size),
            **_target_fields(item),
        )
        for item in instances
    ]


def detector_targets(
    item: InstanceData, image_size: tuple[int, int]
) -> InstanceData:
    """Convert pseudo-labels to the ground truth of any MMDet detector.

    Args:
        item (InstanceData): Pseudo-labels of one image.
        image_size (tuple[int, int]): (H, W) of the padded image.

    Returns:
        InstanceData: ``labels``, ``bboxes`` around the masks, ``masks`` as
        MMDet's ``BitmapMasks``, which live on the host, and ``scores`` and
        ``weights`` where the pseudo-labels have them. Instances whose mask is
        empty are left out, since they have no box.
    """
    masks = masks_at_image_size(item, image_size)
    keep = masks.flatten(1).any(1)
    masks = masks[keep]
    return InstanceData(
        labels=item.labels[keep],
        bboxes=masks_to_boxes(masks),
        masks=BitmapMasks(masks.byte().cpu().numpy(), *image_size),
        **{name: value[keep] for name, value in _target_fields(item).items()},
    )


def _target_fields(item: InstanceData) -> dict[str, Tensor]:
    return {name: item[name] for name in TARGET_FIELDS if name in item}
