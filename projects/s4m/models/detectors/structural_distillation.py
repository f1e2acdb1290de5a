# SPDX-License-Identifier: Apache-2.0
"""Structural distillation of S4M for any MMDet detector."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType
from torch import Tensor

from s4m.structures.masks import mask_union, spatial_size
from s4m.utils.recording import record_output
from s4m.utils.transfers import to_device

from ..data_preprocessors import SemiDataPreprocessor, to_rgb
from ..losses import similarity_rows
from ..promptable import PromptableSegmenter, SegmenterOwner, token_index
from .loss_dicts import AddedLossesMixin


def sample_query_points(
    foreground: Tensor, valid_sizes: Tensor, points_per_image: int
) -> Tensor:
    """Draw half of the points on the foreground, half uniformly.

    Foreground pixels are drawn without replacement; where an image has too
    few of them, all are taken and more uniform points are drawn. Uniform
    points lie in the valid (un-padded) area.

    Args:
        foreground (Tensor): (B, H, W) bool, the union of the masks.
        valid_sizes (Tensor): (B, 2) valid (height, width) of each image.
        points_per_image (int): Number P of points.

    Returns:
        Tensor: (B, P, 2) fp32 (x, y), whole numbers of pixels.
    """
    batch, _, width = foreground.shape
    half = points_per_image // 2
    (sizes,) = to_device([valid_sizes[:, None]], foreground.device)
    points = torch.rand(batch, points_per_image, 2, device=foreground.device)
    points = (points * sizes).floor().clamp(max=sizes - 1).flip(-1)

    # The pixels with the largest uniform keys are a draw without replacement.
    keys = torch.rand(foreground.shape, device=foreground.device)
    keys = keys.masked_fill(~foreground, -1).flatten(1)
    keys, index = keys.topk(min(half, keys.shape[1]), dim=1)
    xy = torch.stack([index % width, index // width], dim=-1).float()
    drawn = points[:, : xy.shape[1]]
    drawn.copy_(torch.where((keys >= 0)[..., None], xy, drawn))
    return points


class StructuralDistillMixin(AddedLossesMixin, SegmenterOwner):
    """Mixin that adds structural distillation to the loss of a detector.

    List it before the detector: ``class X(StructuralDistillMixin, MaskRCNN)``;
    the detector needs no change. A frozen segmenter is never part of the
    detector's parameters or checkpoints, see
    :class:`~s4m.models.promptable.SegmenterOwner`.

    With a ``SemiDataPreprocessor`` the segmenter gets the pixels as they were
    read. With MMDet's ``DetDataPreprocessor`` they are recovered from the
    normalised input, exact but for rounding.

    Args:
        *args: Arguments of the detector.
        segmenter (dict): Config of a promptable segmenter that has
            ``similarity``.
        loss_distill (dict): Config of the loss between similarity rows.
        feature_source (str): Name of the submodule whose output is the
            feature map that learns, e.g. ``panoptic_head.pixel_decoder`` or
            ``neck``.
        feature_index (int): Index of the feature map where the submodule has
            several outputs. Defaults to 0.
        points_per_image (int): Number of query points in an image, half of
            them on objects. Defaults to 128.
        **kwargs: Arguments of the detector.

    Raises:
        ValueError: if ``points_per_image`` < 1, the detector has no such
            submodule, or the segmenter has no ``similarity``.

    Example:
        >>> from mmdet.models.detectors import SOLO
        >>> class DistillSOLO(StructuralDistillMixin, SOLO):
        ...     pass
    """

    def __init__(
        self,
        *args,
        segmenter: ConfigType,
        loss_distill: ConfigType,
        feature_source: str,
        feature_index: int = 0,
        points_per_image: int = 128,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if points_per_image < 1:
            raise ValueError(
                f'points_per_image must be >= 1, got {points_per_image}'
            )
        names = dict(self.named_modules())
        if feature_source not in names:
            raise ValueError(
                f'feature_source={feature_source!r} is not a submodule of '
                f'{type(self).__name__}; it has {sorted(names)[1:12]} ...'
            )
        if isinstance(self.data_preprocessor, SemiDataPreprocessor):
            self.data_preprocessor.pixel_batches = True
        self.configure_segmenter(segmenter)
        self.loss_distill = MODELS.build(loss_distill)
        self.feature_source = feature_source
        self.feature_index = feature_index
        self.points_per_image = points_per_image

    def check_segmenter(self, segmenter: PromptableSegmenter) -> None:
        """Refuse a segmenter that has no similarity rows.

        Args:
            segmenter (PromptableSegmenter): The segmenter that was built.

        Raises:
            ValueError: if its class does not implement ``similarity``.
        """
        kind = type(segmenter)
        if kind.similarity is PromptableSegmenter.similarity:
            raise ValueError(
                f'{type(self).__name__} cannot learn from {kind.__name__}: '
                'structural distillation compares with the rows of the '
                'method `similarity`, which this segmenter does not have.'
            )

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute the detector's losses and ``loss_distill``.

        Args:
            batch_inputs (Tensor): (B, 3, H, W) RGB in 0..255 from a
                ``SemiDataPreprocessor``, or normalised images from MMDet's.
            batch_data_samples (list[DetDataSample]): Samples with masks.

        Returns:
            dict[str, Tensor]: The detector's losses and ``loss_distill``.
        """
        preprocessor = self.data_preprocessor
        if isinstance(preprocessor, SemiDataPreprocessor):
            rgb = batch_inputs
            batch_inputs = preprocessor.normalize(rgb)
        else:
            rgb = to_rgb(preprocessor, batch_inputs)
        source = self.get_submodule(self.feature_source)
        with record_output(source) as outputs:
            losses = super().loss(batch_inputs, batch_data_samples)
        features = outputs[0]
        if not isinstance(features, Tensor):
            features = features[self.feature_index]
        index, target, grid = self.distill_targets(rgb, batch_data_samples)
        losses['loss_distill'] = self.loss_distill(
            similarity_rows(features, index, grid), target
        )
        return losses

    @torch.no_grad()
    def distill_targets(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Draw query tokens and compute the segmenter's similarity rows.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.
            batch_data_samples (list[DetDataSample]): Samples with masks and
                ``img_shape``.

        Returns:
            tuple: (B, P) token indices, (B, P, h * w) target rows, and the
            (h, w) of the segmenter's grid over the padded image.
        """
        size = spatial_size(rgb)
        foreground = torch.stack(
            [
                mask_union(sample.gt_instances.masks, size, rgb.device)
                for sample in batch_data_samples
            ]
        )
        valid_sizes = torch.tensor(
            [sample.img_shape[:2] for sample in batch_data_samples]
        )
        points = sample_query_points(
            foreground, valid_sizes, self.points_per_image
        )
        segmenter = self.segmenter_on(rgb.device)
        embeddings = segmenter.encode(rgb)
        grid = embeddings.grid_size
        rows = segmenter.similarity(embeddings, points)
        return token_index(points, size, grid), rows, grid
