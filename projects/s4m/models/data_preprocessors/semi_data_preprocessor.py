# SPDX-License-Identifier: Apache-2.0
"""Data preprocessor that gives pixels in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from torch import Tensor

from s4m.structures.masks import spatial_size
from s4m.utils.transfers import tree_to_device


def to_rgb(preprocessor: DetDataPreprocessor, inputs: Tensor) -> Tensor:
    """Recover RGB in 0..255 from network inputs, exact but for rounding.

    Args:
        preprocessor (DetDataPreprocessor): Preprocessor that normalised the
            images. Files are read as BGR, so channels that it swapped are
            RGB.
        inputs (Tensor): (B, 3, H, W) normalised images.

    Returns:
        Tensor: (B, 3, H, W) RGB in 0..255.
    """
    pixels = inputs * preprocessor.std + preprocessor.mean
    return pixels if preprocessor._channel_conversion else pixels.flip(1)


@MODELS.register_module()
class SemiDataPreprocessor(DetDataPreprocessor):
    """Batches of pixels in training, normalised images in evaluation.

    In training, each branch of ``data`` (``sup``, ``unsup_teacher``,
    ``unsup_student``, as ``MultiBranch`` makes them) becomes (B, 3, H, W) RGB
    in 0..255 on the device, padded with the mean pixel, with the valid sizes
    in ``data_sample.img_shape``: promptable segmenters, copy-paste and colour
    augmentation want pixels. The detector calls :meth:`normalize` where a
    network needs it. A batch without branches becomes pixels too where its
    detector says so by :attr:`pixel_batches`, as the
    ``StructuralDistillMixin`` does. In evaluation, and for other detectors,
    this is MMDet's ``DetDataPreprocessor``.

    Args:
        mean (Sequence[float]): Mean pixel, in the network's order of
            channels.
        std (Sequence[float]): Standard deviation, in the same order.
        bgr_to_rgb (bool): Whether the network takes RGB; images arrive as
            BGR, as MMDet reads them. The pixels of training are RGB in either
            case. Defaults to True.
        **kwargs: Arguments of ``DetDataPreprocessor``.

    Raises:
        ValueError: if ``rgb_to_bgr`` is set, since images arrive as BGR.

    Example:
        >>> import torch
        >>> preprocessor = SemiDataPreprocessor(
        ...     mean=[0, 0, 0], std=[255, 255, 255])
        >>> preprocessor.normalize(torch.full((1, 3, 2, 2), 51.0)).unique()
        tensor([0.2000])
    """

    # Switches of DetDataPreprocessor, set differently for batches of pixels.
    _channel_conversion: bool
    _enable_normalize: bool

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        bgr_to_rgb: bool = True,
        **kwargs,
    ) -> None:
        if kwargs.get('rgb_to_bgr'):
            raise ValueError('SemiDataPreprocessor reads BGR: no rgb_to_bgr')
        super().__init__(mean=mean, std=std, bgr_to_rgb=bgr_to_rgb, **kwargs)
        #: Whether a training batch without branches stays pixels: set by the
        #: detector that normalises them itself.
        self.pixel_batches = False

    def normalize(self, rgb: Tensor) -> Tensor:
        """Normalise pixels for a network.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.

        Returns:
            Tensor: (B, 3, H, W) normalised, in the network's channel order.
        """
        pixels = rgb if self._channel_conversion else rgb.flip(1)
        return (pixels - self.mean) / self.std

    def forward(self, data: dict, training: bool = False) -> dict:
        """Collate images into one batch, or into one for each branch.

        Args:
            data (dict): Lists ``inputs`` and ``data_samples``, or in training
                dicts with one such list for each branch, where None stands
                for images of other branches.
            training (bool): Whether to return pixels and not normalised
                images. Defaults to False.

        Returns:
            dict: Batches ``inputs`` and ``data_samples`` in the same
            structure, without the branches that have no image.
        """
        branches = isinstance(data['inputs'], dict)
        if not training or not (branches or self.pixel_batches):
            return super().forward(data, training)
        if not branches:
            return self._pixels(data)
        # All branches in one copy.
        data = self.cast_data(data)
        inputs, data_samples = {}, {}
        for branch, images in data['inputs'].items():
            samples = data['data_samples'][branch]
            chosen = [i for i, image in enumerate(images) if image is not None]
            if not chosen:
                continue
            batch = self._pixels(
                dict(
                    inputs=[images[i] for i in chosen],
                    data_samples=[samples[i] for i in chosen],
                )
            )
            inputs[branch] = batch['inputs']
            data_samples[branch] = batch['data_samples']
        return dict(inputs=inputs, data_samples=data_samples)

    def cast_data(self, data: Any) -> Any:
        """Copy a batch to the device, see :func:`tree_to_device`.

        Args:
            data (Any): Batch of the loader.

        Returns:
            Any: The same structure on the device.
        """
        return tree_to_device(data, self.device)

    def _pixels(self, data: dict) -> dict:
        """Collate pixels as MMDet does, and fill the padding with the mean."""
        with self._without_normalization():
            data = super().forward(data, training=True)
        # Files are read as BGR.
        rgb = data['inputs'].flip(1)
        mean = self.mean if self._channel_conversion else self.mean.flip(0)
        for image, sample in zip(rgb, data['data_samples'], strict=True):
            height, width = sample.img_shape[:2]
            if (height, width) != spatial_size(image):
                image[:, height:] = mean
                image[:, :height, width:] = mean
        return {**data, 'inputs': rgb}

    @contextmanager
    def _without_normalization(self) -> Iterator[None]:
        """Let MMDet's ``forward`` return BGR in 0..255.

        MMDet would reorder the channels of each image by a list of indices,
        for each of which the host waits.
        """
        flags = self._enable_normalize, self._channel_conversion
        self._enable_normalize = self._channel_conversion = False
        try:
            yield
        finally:
            self._enable_normalize, self._channel_conversion = flags
