# SPDX-License-Identifier: Apache-2.0
"""Copy-paste of pseudo-labelled instances between unlabelled images."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from s4m.structures.masks import masks_at_image_size, occupied_range, topmost

_MODES = ('static', 'dynamic')


@MODELS.register_module()
class RefinedCopyPaste(nn.Module):
    """ARP: augmentation with refined pseudo-labels.

    `S4M <https://arxiv.org/abs/2504.05301>`_:
    ``x_AB = M_B * x_B + (1 - M_B) * x_A`` and the reverse, M being the union
    of the refined masks. Of B shuffled images, ``max(1, B // 4)`` pair up
    with as many others; each of a pair receives the other's instances, both
    from the state before pasting. Then the masks of an image are made
    mutually exclusive, later ones on top, and those without a pixel left go,
    with their labels. An image whose partner has no instance of ``min_area``
    stays as it is, overlaps included. Vectorised over instances.

    Args:
        mode (str): ``static`` pastes at the same place (Cityscapes),
            ``dynamic`` resizes each instance by U(``scale_range``) and puts
            it anywhere on the canvas (COCO).
        min_area (float): Least area of a pasted instance in pixels of the
            image.
        scale_range (tuple[float, float]): Of ``dynamic``.

    Raises:
        ValueError: if an argument is out of range.
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
            instances (list[InstanceData]): with ``masks`` (n, H, W) bool, or
                ``mask_logits`` (n, h, w) where no refiner made full-size
                masks; those are up-sampled bilinearly.

        Returns:
            tuple[Tensor, list[InstanceData]]: new images and new instances
            with ``masks`` (n, H, W), ``labels``, ``scores`` and ``pasted``
            (n, ) bool. Inputs are not changed.
        """
        size = tuple(rgb.shape[-2:])
        instances = [_before_pasting(item, size) for item in instances]
        batch = len(instances)
        if batch < 2:
            return rgb, instances
        num_pairs = max(1, batch // 4)
        order = torch.randperm(batch).tolist()
        result, out = list(instances), rgb.clone()
        for a, b in zip(
            order[:num_pairs], order[num_pairs : 2 * num_pairs], strict=True
        ):
            for to, source in ((a, b), (b, a)):
                out[to], result[to] = self.paste(
                    rgb[to], instances[to], rgb[source], instances[source]
                )
        return out, result

    def paste(
        self,
        image: Tensor,
        own: InstanceData,
        source_image: Tensor,
        source: InstanceData,
    ) -> tuple[Tensor, InstanceData]:
        """Paste the large instances of one image into another.

        Args:
            image (Tensor): (3, H, W) the receiver.
            own (InstanceData): its instances, ``masks`` (n, H, W).
            source_image (Tensor): (3, H, W) the donor.
            source (InstanceData): its instances.

        Returns:
            tuple[Tensor, InstanceData]: the new image and its instances.
        """
        area = source.masks.sum((1, 2), dtype=torch.int32)
        donors = source[area >= self.min_area]
        if len(donors) == 0:
            return image, own
        if self.mode == 'static':
            masks = donors.masks
            height, width = image.shape[-2:]
            rows = torch.arange(height, device=image.device)[None]
            cols = torch.arange(width, device=image.device)[None]
        else:
            rows, cols = self._placement(donors.masks)
            masks = _gather_masks(donors.masks, rows, cols)
        merged = torch.cat([own.masks, masks])
        top = topmost(merged)

        num_own = len(own.masks)
        pasted = top >= num_own
        # The source pixel of each canvas pixel is that of its top instance.
        layer = (top - num_own).clamp(min=0)
        if self.mode == 'static':
            moved = source_image
        else:
            at = torch.arange(top.shape[0], device=top.device)[:, None]
            y = rows[layer, at].clamp(min=0)
            at = torch.arange(top.shape[1], device=top.device)[None]
            x = cols[layer, at].clamp(min=0)
            moved = source_image[:, y, x]
        image = torch.where(pasted, moved, image)

        visible = torch.bincount((top + 1).flatten(), minlength=1)[1:]
        kept = visible.nonzero()[:, 0]
        out = InstanceData(
            labels=torch.cat([own.labels, donors.labels])[kept],
            scores=torch.cat([own.scores, donors.scores])[kept],
            masks=top == kept[:, None, None],
            pasted=kept >= num_own,
        )
        return image, out

    def _placement(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Random size and place of each instance.

        Args:
            masks (Tensor): (n, H, W) bool, none empty.

        Returns:
            tuple[Tensor, Tensor]: (n, H) and (n, W) int64, the row and
            column of the source that each row and column of the canvas
            shows (nearest), -1 outside the instance's box.
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
            # Anywhere it fits; a larger one is cropped at random.
            room = length - new
            offset = torch.rand_like(scale) * (room.abs() + 1)
            offset = offset.floor().clamp(max=room.abs()) * room.sign()
            inside = position - offset
            index = first + (inside * extent / new).floor().long()
            valid = (inside >= 0) & (inside < new)
            # Rounding in fp32 must not step over the box.
            index = index.clamp(max=last - 1)
            axes.append(index.masked_fill(~valid, -1))
        return axes[0], axes[1]


def _gather_masks(masks: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Masks seen through :meth:`RefinedCopyPaste._placement`'s maps."""
    n = torch.arange(len(masks), device=masks.device)[:, None, None]
    y, x = rows[:, :, None], cols[:, None, :]
    seen = masks[n, y.clamp(min=0), x.clamp(min=0)]
    return seen & (y >= 0) & (x >= 0)


def _before_pasting(item: InstanceData, size: tuple[int, int]) -> InstanceData:
    """Labels, scores and bool masks at image resolution, nothing pasted."""
    pasted = torch.zeros_like(item.labels, dtype=torch.bool)
    return InstanceData(
        labels=item.labels,
        scores=item.scores,
        masks=masks_at_image_size(item, size),
        pasted=pasted,
    )
