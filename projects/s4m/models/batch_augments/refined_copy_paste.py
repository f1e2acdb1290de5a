# SPDX-License-Identifier: Apache-2.0
"""Copy-paste of pseudo-labelled instances between unlabelled images."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from s4m.structures import join_instances, replace_fields
from s4m.structures.masks import (
    masks_at_image_size,
    occupied_range,
    spatial_size,
    topmost,
)
from s4m.structures.selection import kept_indices

_MODES = ('static', 'dynamic')


@MODELS.register_module()
class RefinedCopyPaste(nn.Module):
    """ARP: augmentation with refined pseudo-labels.

    `S4M <https://arxiv.org/abs/2504.05301>`_:
    ``x_AB = M_B * x_B + (1 - M_B) * x_A`` and the reverse, where M is the
    union of the refined masks. Of B shuffled images, ``max(1, B // 4)`` form
    pairs with as many others; the images of a pair exchange the instances
    that they had before pasting. Then the masks of an image are made mutually
    exclusive, with later masks on top, and instances without a visible pixel
    are removed. An image whose partner has no instance of ``min_area`` does
    not change, so its masks may overlap.

    Args:
        mode (str): ``static`` pastes at the same place (Cityscapes),
            ``dynamic`` resizes each instance by U(``scale_range``) and pastes
            it anywhere in the padded image (COCO). Defaults to ``static``.
        min_area (float): Least area of a pasted instance in pixels of the
            image. Defaults to 3000.
        scale_range (tuple[float, float]): Range of the scale of ``dynamic``.
            Defaults to (0.8, 1.2).

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> masks = torch.zeros(1, 4, 4, dtype=torch.bool)
        >>> masks[:, :2] = True
        >>> item = InstanceData(labels=torch.tensor([0]), masks=masks)
        >>> rgb = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
        >>> copy_paste = RefinedCopyPaste(min_area=4)
        >>> images, instances = copy_paste(rgb, [item, item])
        >>> images.mean((1, 2, 3)).tolist()
        [0.5, 0.5]
        >>> instances[0].pasted.tolist()
        [True]
    """

    def __init__(
        self,
        mode: str = 'static',
        min_area: float = 3000,
        scale_range: tuple[float, float] = (0.8, 1.2),
    ) -> None:
        super().__init__()
        if mode not in _MODES:
            raise ValueError(f'mode must be one of {_MODES}, got {mode!r}')
        if min_area < 0:
            raise ValueError(f'min_area must be >= 0, got {min_area}')
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f'scale_range must be 0 < a <= b: {scale_range}')
        self.mode = mode
        self.min_area = min_area
        self.scale_range = tuple(scale_range)

    @torch.no_grad()
    def forward(
        self, rgb: Tensor, instances: InstanceList
    ) -> tuple[Tensor, InstanceList]:
        """Exchange instances between pairs of images.

        Args:
            rgb (Tensor): (B, 3, H, W) images before strong augmentation.
            instances (list[InstanceData]): Pseudo-labels with ``masks``
                (n, H, W) bool, or with ``masks`` (n, h, w) and
                ``mask_logits`` (n, h, w), which are up-sampled bilinearly.

        Returns:
            tuple[Tensor, list[InstanceData]]: New images, and new instances
            with ``masks`` (n, H, W), ``pasted`` (n, ) bool and all other
            fields of the input except for ``mask_logits``.
        """
        size = spatial_size(rgb)
        instances = [_before_pasting(item, size) for item in instances]
        batch = len(instances)
        if batch < 2:
            return rgb, instances
        num_pairs = max(1, batch // 4)
        order = torch.randperm(batch).tolist()
        out, pasted, visible = rgb.clone(), {}, {}
        for a, b in zip(
            order[:num_pairs], order[num_pairs : 2 * num_pairs], strict=True
        ):
            for to, source in ((a, b), (b, a)):
                out[to], pasted[to], visible[to] = self._overlay(
                    rgb[to], instances[to], rgb[source], instances[source]
                )
        result = list(instances)
        indices = kept_indices(list(visible.values()))
        for (to, item), index in zip(pasted.items(), indices, strict=True):
            result[to] = item[index]
        return out, result

    def paste(
        self,
        image: Tensor,
        target: InstanceData,
        source_image: Tensor,
        source: InstanceData,
    ) -> tuple[Tensor, InstanceData]:
        """Paste the large instances of one image into another.

        Args:
            image (Tensor): (3, H, W) image that receives instances.
            target (InstanceData): Instances of this image, with ``masks``
                (n, H, W).
            source_image (Tensor): (3, H, W) image that gives instances.
            source (InstanceData): Instances of the giving image, with
                ``masks`` (m, H, W).

        Returns:
            tuple[Tensor, InstanceData]: The new image and its instances, with
            the fields that the instances of both images have.
        """
        image, item, visible = self._overlay(
            image, target, source_image, source
        )
        (index,) = kept_indices([visible])
        return image, item[index]

    def _overlay(
        self,
        image: Tensor,
        target: InstanceData,
        source_image: Tensor,
        source: InstanceData,
    ) -> tuple[Tensor, InstanceData, Tensor]:
        """Paste without knowing how many instances are large or visible.

        Returns:
            tuple: The image, the n + m instances of both images, and (n + m)
            bool, whether each is an instance of the new image.
        """
        num_target = len(target.masks)
        area = source.masks.sum((1, 2), dtype=torch.int32)
        large = area >= self.min_area
        masks = source.masks & large[:, None, None]
        if self.mode == 'dynamic':
            rows, cols = self._placement(masks)
            masks = _gather_masks(masks, rows, cols)
        masks = torch.cat([target.masks, masks])
        top = topmost(masks)
        is_pasted = top >= num_target
        moved = source_image
        if self.mode == 'dynamic' and len(large):
            # Each pixel shows the source pixel of its topmost instance.
            layer = (top - num_target).clamp(min=0)
            at = torch.arange(top.shape[0], device=top.device)[:, None]
            y = rows[layer, at].clamp(min=0)
            at = torch.arange(top.shape[1], device=top.device)[None]
            x = cols[layer, at].clamp(min=0)
            moved = source_image[:, y, x]
        image = torch.where(is_pasted, moved, image)

        order = torch.arange(len(masks), device=top.device)
        # Without a large instance nothing changes, not even overlaps.
        changes = large.any()
        masks = torch.where(changes, top == order[:, None, None], masks)
        pasted = order >= num_target
        visible = torch.where(changes, masks.flatten(1).any(1), ~pasted)
        item = replace_fields(
            join_instances(target, source), masks=masks, pasted=pasted
        )
        return image, item, visible

    def _placement(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Draw a size and a place for each instance.

        Args:
            masks (Tensor): (n, H, W) bool; an empty one stays empty.

        Returns:
            tuple[Tensor, Tensor]: (n, H) and (n, W) int64, the nearest row
            and column of the source that each row and column of the padded
            image shows, -1 outside the instance's box.
        """
        axes = []
        scale = torch.empty(len(masks), 1, device=masks.device)
        scale.uniform_(*self.scale_range)
        for axis in (1, 2):
            length = masks.shape[axis]
            position = torch.arange(length, device=masks.device)
            first, last = occupied_range(masks.any(dim=3 - axis))
            extent = last - first
            new = (extent * scale).round().clamp(min=1)
            # An instance is placed anywhere inside the padded image; one
            # that is larger is cropped at random.
            room = length - new
            offset = torch.rand_like(scale) * (room.abs() + 1)
            offset = offset.floor().clamp(max=room.abs()) * room.sign()
            inside = position - offset
            index = first + (inside * extent / new).floor().long()
            valid = (inside >= 0) & (inside < new)
            # fp32 rounding must not lead out of the box.
            index = index.clamp(max=last - 1)
            axes.append(index.masked_fill(~valid, -1))
        return axes[0], axes[1]


def _gather_masks(masks: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Move masks by the index maps of :meth:`RefinedCopyPaste._placement`."""
    n = torch.arange(len(masks), device=masks.device)[:, None, None]
    y, x = rows[:, :, None], cols[:, None, :]
    moved = masks[n, y.clamp(min=0), x.clamp(min=0)]
    return moved & (y >= 0) & (x >= 0)


def _before_pasting(item: InstanceData, size: tuple[int, int]) -> InstanceData:
    """Prepare pseudo-labels: masks at the image's size, ``pasted`` false."""
    item = replace_fields(
        item,
        masks=masks_at_image_size(item, size),
        pasted=torch.zeros_like(item.labels, dtype=torch.bool),
    )
    # Mask logits would still show the image before pasting.
    item.pop('mask_logits', None)
    return item
