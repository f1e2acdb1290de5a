# SPDX-License-Identifier: Apache-2.0
"""Data preprocessor that keeps pixels for the teacher's helpers."""

from __future__ import annotations

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from torch import Tensor


def to_rgb(preprocessor: DetDataPreprocessor, inputs: Tensor) -> Tensor:
    """RGB in 0..255 of (B, 3, H, W) network inputs.

    Args:
        preprocessor (DetDataPreprocessor): That normalised them. Files are
            read as BGR, so channels that were converted are RGB.
        inputs (Tensor): (B, 3, H, W).
    """
    pixels = inputs * preprocessor.std + preprocessor.mean
    return pixels if preprocessor._channel_conversion else pixels.flip(1)


@MODELS.register_module()
class SemiDataPreprocessor(DetDataPreprocessor):
    """Batches of pixels per branch in training, normalised ones elsewhere.

    In training, ``data`` holds a dict of branches (``sup``,
    ``unsup_teacher``, ``unsup_student``) as ``MultiBranch`` makes them. Each
    becomes (B, 3, H, W) RGB in 0..255 on the device, padded with the mean
    pixel, its valid size in ``data_sample.img_shape``: promptable segmenters,
    copy-paste and colour augmentation want pixels. The detector calls
    :meth:`normalize` where a network needs it. In evaluation it is MMDet's
    ``DetDataPreprocessor``.

    Takes the arguments of ``DetDataPreprocessor``; ``mean`` and ``std`` are
    required. Images arrive as BGR, as MMDet reads them. ``bgr_to_rgb`` (True)
    says what the network sees, as in MMDet; pixels of branches are RGB
    whatever it says.

    Raises:
        ValueError: if ``rgb_to_bgr`` is given: nothing arrives as RGB.
    """

    def __init__(self, mean, std, bgr_to_rgb: bool = True, **kwargs) -> None:
        if kwargs.get('rgb_to_bgr'):
            raise ValueError('SemiDataPreprocessor reads BGR: no rgb_to_bgr')
        super().__init__(mean=mean, std=std, bgr_to_rgb=bgr_to_rgb, **kwargs)

    def normalize(self, rgb: Tensor) -> Tensor:
        """Network inputs of (B, 3, H, W) RGB pixels in 0..255."""
        pixels = rgb if self._channel_conversion else rgb.flip(1)
        return (pixels - self.mean) / self.std

    def forward(self, data: dict, training: bool = False) -> dict:
        """Batch every branch, or one batch in evaluation.

        Args:
            data (dict): ``inputs`` and ``data_samples``; in training each a
                dict of lists with None for the images of other branches.
            training (bool): Whether to keep pixels, branch by branch.

        Returns:
            dict: ``inputs`` and ``data_samples`` in the same structure,
            without the branches that no image of the batch has.
        """
        if not training:
            return super().forward(data, training)
        inputs, data_samples = {}, {}
        for branch, images in data['inputs'].items():
            samples = data['data_samples'][branch]
            kept = [i for i, image in enumerate(images) if image is not None]
            if not kept:
                continue
            batch = super().forward(
                dict(
                    inputs=[images[i] for i in kept],
                    data_samples=[samples[i] for i in kept],
                ),
                training,
            )
            # MMDet pads after normalising, with 0: that is the mean pixel.
            inputs[branch] = to_rgb(self, batch['inputs'])
            data_samples[branch] = batch['data_samples']
        return dict(inputs=inputs, data_samples=data_samples)
