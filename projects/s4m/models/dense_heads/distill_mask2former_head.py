# SPDX-License-Identifier: Apache-2.0
"""Mask2Former head for labels from people and from networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import Mask2FormerHead
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures.pseudo_instances import TARGET_FIELDS
from s4m.utils.transfers import to_device

from .batched_point_losses import BatchedPointLossesMixin
from .query_decoding import QueryDecodingMixin


@MODELS.register_module()
class DistillMask2FormerHead(
    QueryDecodingMixin, BatchedPointLossesMixin, Mask2FormerHead
):
    """Mask2Former head for tensor masks, autocast and distillation.

    The head has the parameters and keys of MMDet's ``Mask2FormerHead``, and
    these differences:

    * ground truth masks may be ``BitmapMasks`` or bool tensors, at image or
      at mask resolution, and are never converted to int64;
    * what all decoder layers share is made once, see
      :class:`QueryDecodingMixin`;
    * all decoder layers and images are matched at once, see
      :class:`BatchedLossesMixin`;
    * matching costs and losses run in fp32 inside autocast, since sums over
      12544 points overflow fp16;
    * mask losses are divided by the number of objects in the batch, as in
      Mask2Former; MMDet counts an image without objects as one object;
    * the pixel decoder may have no deformable encoder, such as the
      ``DPTPixelDecoder``;
    * targets keep the ``scores`` and ``weights`` of pseudo-labels. A weight
      multiplies the classification, mask and dice loss of the query that is
      matched with the pseudo-label. The losses are divided by the same
      numbers as without weights, so weights of 1 change nothing and a small
      weight makes the loss smaller. "No object" and matching costs have no
      weights. A subclass may read the scores.

    Pseudo-labelling reads the logits of each query from ``forward``, and
    distillation reads the mask features, which are the first output of the
    submodule ``pixel_decoder``.

    Args:
        *args: Arguments of MMDet's ``Mask2FormerHead``.
        pixel_decoder (dict): Config of the pixel decoder.
        num_transformer_feat_level (int): Number of memory levels. Defaults
            to 3.
        **kwargs: Arguments of MMDet's ``Mask2FormerHead``.

    Attributes:
        target_masks (str): ``tensor``, so that pseudo-labels arrive as bool
            tensors; see :func:`~s4m.structures.project_pseudo_instances`.
    """

    target_masks = 'tensor'

    def __init__(
        self,
        *args,
        pixel_decoder: ConfigType,
        num_transformer_feat_level: int = 3,
        **kwargs,
    ) -> None:
        if 'encoder' not in pixel_decoder:
            # MMDet's head reads the number of levels from the config of the
            # encoder.
            levels = dict(num_levels=num_transformer_feat_level)
            pixel_decoder = ConfigDict(
                pixel_decoder,
                encoder=dict(layer_cfg=dict(self_attn_cfg=levels)),
            )
        super().__init__(
            *args,
            pixel_decoder=pixel_decoder,
            num_transformer_feat_level=num_transformer_feat_level,
            **kwargs,
        )

    def preprocess_gt(
        self, batch_gt_instances: InstanceList, batch_gt_semantic_segs: list
    ) -> InstanceList:
        """Convert the objects of each image to tensors on the device.

        Args:
            batch_gt_instances (list[InstanceData]): Objects with ``labels``
                and ``masks``, and perhaps ``scores`` and ``weights``.
            batch_gt_semantic_segs (list): Not used, since this head has no
                stuff classes.

        Returns:
            list[InstanceData]: ``labels`` (n, ), ``masks`` (n, H, W) and,
            where the objects have them, ``scores`` and ``weights``.
        """
        masks = to_device(
            [
                gt.masks
                if isinstance(gt.masks, Tensor)
                else gt.masks.to_tensor(torch.bool, 'cpu')
                for gt in batch_gt_instances
            ],
            batch_gt_instances[0].labels.device,
        )
        return [
            InstanceData(
                labels=gt.labels,
                masks=mask,
                **{k: gt[k] for k in TARGET_FIELDS if k in gt},
            )
            for gt, mask in zip(batch_gt_instances, masks, strict=True)
        ]

    def count_objects(self, counts: Sequence[int]) -> int:
        """Return the number of objects of all images, as Mask2Former counts.

        Args:
            counts (Sequence[int]): Number of objects of each image.
        """
        return sum(counts)
