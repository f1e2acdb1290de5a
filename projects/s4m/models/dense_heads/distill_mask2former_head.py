# SPDX-License-Identifier: Apache-2.0
"""Mask2Former head for labels from people and from networks."""

from __future__ import annotations

import torch
from mmdet.models.dense_heads import Mask2FormerHead
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures.pseudo_instances import TARGET_FIELDS


@MODELS.register_module()
class DistillMask2FormerHead(Mask2FormerHead):
    """Mask2Former head for tensor masks, autocast and distillation.

    The head has the parameters and keys of MMDet's ``Mask2FormerHead``, and
    these differences:

    * ground truth masks may be ``BitmapMasks`` or bool tensors, at image or
      at mask resolution, and are never converted to int64;
    * matching costs and losses run in fp32 inside autocast, since sums over
      12544 points overflow fp16;
    * mask losses are divided by the number of objects in the batch, as in
      Mask2Former; MMDet counts an image without objects as one object;
    * the pixel decoder may have no deformable encoder, such as the
      ``DPTPixelDecoder``;
    * a state dict with more queries gives the head its first ones: the
      nano weights of this package have 100 queries, of which the first 20
      were also trained alone;
    * targets keep the ``scores`` and ``weights`` of pseudo-labels, which this
      head does not read but a subclass may.

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

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args
    ) -> None:
        """Keep the first queries of a state dict with more queries."""
        for name in ('query_feat', 'query_embed'):
            key = f'{prefix}{name}.weight'
            ours = getattr(self, name).weight
            weight = state_dict.get(key, ours)
            if len(weight) > len(ours):
                state_dict[key] = weight[: len(ours)]
        super()._load_from_state_dict(state_dict, prefix, *args)

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
        targets = []
        for gt in batch_gt_instances:
            masks = gt.masks
            if not isinstance(masks, Tensor):
                masks = masks.to_tensor(torch.bool, gt.labels.device)
            extra = {k: gt[k] for k in TARGET_FIELDS if k in gt}
            targets.append(
                InstanceData(labels=gt.labels, masks=masks, **extra)
            )
        return targets

    def get_targets(
        self,
        cls_scores_list: list[Tensor],
        mask_preds_list: list[Tensor],
        batch_gt_instances: InstanceList,
        *args,
        **kwargs,
    ) -> tuple:
        """Compute MMDet's targets, with the number of objects of Mask2Former.

        Mask2Former sums the objects of all images. The caller averages the
        sum over the processes and clamps it to at least 1.

        Args:
            cls_scores_list (list[Tensor]): (Q, C + 1) class logits of each
                image.
            mask_preds_list (list[Tensor]): (Q, h, w) mask logits of each
                image.
            batch_gt_instances (list[InstanceData]): Objects of each image.
            *args: Other arguments of MMDet's method.
            **kwargs: Other arguments of MMDet's method.

        Returns:
            tuple: MMDet's targets of one decoder layer; the fifth item is the
            number of objects (int).
        """
        targets = super().get_targets(
            cls_scores_list,
            mask_preds_list,
            batch_gt_instances,
            *args,
            **kwargs,
        )
        num_objects = sum(len(gt.labels) for gt in batch_gt_instances)
        return (*targets[:4], num_objects, *targets[5:])

    def loss_by_feat(
        self,
        all_cls_scores: list[Tensor],
        all_mask_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """Compute MMDet's losses of all decoder layers in fp32.

        Args:
            all_cls_scores (list[Tensor]): (B, Q, C + 1) class logits of each
                layer.
            all_mask_preds (list[Tensor]): (B, Q, h, w) mask logits of each
                layer.
            batch_gt_instances (list[InstanceData]): Objects of each image.
            batch_img_metas (list[dict]): Metainfo of each image.

        Returns:
            dict[str, Tensor]: Losses of all layers by name.
        """
        with torch.autocast(all_cls_scores[0].device.type, enabled=False):
            return super().loss_by_feat(
                [s.float() for s in all_cls_scores],
                [m.float() for m in all_mask_preds],
                batch_gt_instances,
                batch_img_metas,
            )
