# SPDX-License-Identifier: Apache-2.0
"""Structural distillation for Mask2Former and any other MMDet detector."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from mmdet.models.detectors import Mask2Former
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, OptConfigType
from torch import Tensor, nn

from s4m.structures.masks import mask_union

from ..data_preprocessors import to_rgb
from ..losses import similarity_rows
from ..promptable import attach_segmenter, token_index


@contextmanager
def record_output(module: nn.Module):
    """Collect what a submodule returns while the block runs, in a list."""
    outputs: list = []
    handle = module.register_forward_hook(
        lambda _module, _args, output: outputs.append(output)
    )
    try:
        yield outputs
    finally:
        handle.remove()


def sample_query_points(
    foreground: Tensor, valid_sizes: Tensor, num_points: int
) -> Tensor:
    """Half foreground pixels, half uniform ones.

    Foreground pixels are drawn without replacement; where an image has too
    few, all are taken and uniform ones fill the rest. Uniform ones are drawn
    from the valid (un-padded) area.

    Args:
        foreground (Tensor): (B, H, W) bool, the union of the masks.
        valid_sizes (Tensor): (B, 2) valid (height, width) of each image.
        num_points (int): P.

    Returns:
        Tensor: (B, P, 2) fp32 integer pixels as (x, y).
    """
    batch, _, width = foreground.shape
    half = num_points // 2
    sizes = valid_sizes[:, None].to(foreground.device)
    points = torch.rand(batch, num_points, 2, device=foreground.device)
    points = (points * sizes).floor().clamp(max=sizes - 1).flip(-1)

    # The largest of independent uniform keys: a draw without replacement.
    keys = torch.rand(foreground.shape, device=foreground.device)
    keys = keys.masked_fill(~foreground, -1).flatten(1)
    found, index = keys.topk(min(half, keys.shape[1]), dim=1)
    xy = torch.stack([index % width, index // width], dim=-1).float()
    drawn = points[:, : xy.shape[1]]
    drawn.copy_(torch.where((found >= 0)[..., None], xy, drawn))
    return points


class StructuralDistillMixin:
    """Adds structural distillation to the loss of an MMDet detector.

    Put it before the detector in the bases; the detector needs no change.
    The segmenter is built before the first training step and is never part
    of the detector's parameters or checkpoints.

    Args:
        segmenter (dict): Config of a promptable segmenter.
        loss_distill (dict): Config of the loss, compared on similarity rows.
        feature_source (str): Name of the submodule whose output is the
            feature map that learns, e.g. ``panoptic_head.pixel_decoder`` or
            ``neck``.
        feature_index (int): Which of that submodule's outputs.
        num_points (int): Query points per image, half on objects.

    Raises:
        ValueError: if ``num_points`` < 1, or there is no such submodule.
    """

    def __init__(
        self,
        *args,
        segmenter: ConfigType,
        loss_distill: ConfigType,
        feature_source: str,
        feature_index: int = 0,
        num_points: int = 128,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if num_points < 1:
            raise ValueError(f'num_points must be >= 1, got {num_points}')
        names = dict(self.named_modules())
        if feature_source not in names:
            raise ValueError(
                f'feature_source={feature_source!r} is no submodule of '
                f'{type(self).__name__}; it has {sorted(names)[1:12]} ...'
            )
        self.segmenter_cfg = segmenter
        attach_segmenter(self, None)
        self.loss_distill = MODELS.build(loss_distill)
        self.feature_source = feature_source
        self.feature_index = feature_index
        self.num_points = num_points

    def init_weights(self) -> None:
        """Initialise the detector; a bad segmenter fails here, not later."""
        super().init_weights()
        self.build_segmenter()

    def build_segmenter(self) -> None:
        """Build the segmenter from its config, once."""
        if self.segmenter is None:
            attach_segmenter(self, MODELS.build(self.segmenter_cfg))

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """The detector's losses, and ``loss_distill``.

        Args:
            batch_inputs (Tensor): (B, 3, H, W), normalised by
                ``data_preprocessor``.
            batch_data_samples (list[DetDataSample]): with masks.
        """
        source = self.get_submodule(self.feature_source)
        with record_output(source) as outputs:
            losses = super().loss(batch_inputs, batch_data_samples)
        features = outputs[0]
        if not isinstance(features, Tensor):
            features = features[self.feature_index]
        index, target, grid = self.distill_targets(
            batch_inputs, batch_data_samples
        )
        losses['loss_distill'] = self.loss_distill(
            similarity_rows(features, index, grid), target
        )
        return losses

    @torch.no_grad()
    def distill_targets(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Query tokens and the segmenter's similarity rows.

        Returns:
            tuple: (B, P) token indices, (B, P, h * w) target rows, and the
            (h, w) of the segmenter's grid over the padded canvas.
        """
        self.build_segmenter()
        rgb = to_rgb(self.data_preprocessor, batch_inputs)
        canvas = tuple(rgb.shape[-2:])
        foreground = torch.stack(
            [
                mask_union(sample.gt_instances.masks, canvas, rgb.device)
                for sample in batch_data_samples
            ]
        )
        sizes = torch.tensor(
            [sample.img_shape[:2] for sample in batch_data_samples]
        )
        points = sample_query_points(foreground, sizes, self.num_points)
        embeddings = self.segmenter.encode(rgb)
        grid = embeddings.grid_size
        rows = self.segmenter.similarity(embeddings, points)
        return token_index(points, canvas, grid), rows, grid


@MODELS.register_module()
class DistillMask2Former(StructuralDistillMixin, Mask2Former):
    """Mask2Former that distils a segmenter's structure into its pixel decoder.

    `S4M <https://arxiv.org/abs/2504.05301>`_, stage 1. Keys of a checkpoint
    are those of MMDet's Mask2Former.

    Args:
        feature_source (str): See :class:`StructuralDistillMixin`.
        **kwargs: Those of :class:`StructuralDistillMixin` and Mask2Former.
    """

    def __init__(
        self,
        *args,
        feature_source: str = 'panoptic_head.pixel_decoder',
        segmenter: OptConfigType = None,
        **kwargs,
    ) -> None:
        if segmenter is None:
            raise ValueError(
                'DistillMask2Former needs a segmenter, e.g. dict(type='
                "'SAM2Segmenter', config='sam2_hiera_large', checkpoint=...)"
            )
        super().__init__(
            *args,
            feature_source=feature_source,
            segmenter=segmenter,
            **kwargs,
        )
