# SPDX-License-Identifier: Apache-2.0
"""RTMDet-Ins head that computes the masks of many objects with few calls."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from mmcv.ops import batched_nms
from mmdet.models.dense_heads import RTMDetInsSepBNHead
from mmdet.models.task_modules.assigners import dynamic_soft_label_assigner
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor, get_box_wh, scale_boxes
from mmdet.utils import ConfigType, InstanceList, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from .mask_pieces import binary_masks, center_of_mass, pieces


@MODELS.register_module()
class BatchedRTMDetInsHead(RTMDetInsSepBNHead):
    """MMDet's ``RTMDetInsSepBNHead``, faster where an image has many objects.

    Parameters, keys, losses and predictions are those of MMDet's head, with
    these differences in how they are computed:

    * The dynamic convolutions of all objects are three matrix products.
      MMDet's are convolutions with one group for each object, which a CPU
      computes one after the other.
    * Masks are resized and binarised a few at a time, and only once where the
      image has not been scaled; MMDet makes the logits of all masks at full
      size, twice.
    * The targets of the mask loss are sampled before they are repeated for
      all priors of an object, not after it.
    * The centres of mass, by which objects are matched, are computed from the
      sums of rows and columns; MMDet multiplies every pixel of every mask.

    An object may have a weight (``weights``). It multiplies the
    classification, box and mask losses of the priors that are assigned to the
    object; the divisors do not change.

    Args:
        *args: Arguments of MMDet's ``RTMDetInsSepBNHead``.
        **kwargs: Arguments of MMDet's ``RTMDetInsSepBNHead``.

    Attributes:
        reads_weights (bool): True, so that pseudo-labels may have weights.
    """

    reads_weights = True

    def _mask_predict_by_feat_single(
        self, mask_feat: Tensor, kernels: Tensor, priors: Tensor
    ) -> Tensor:
        """Compute mask logits of the objects of one image.

        The first layer reads the features and the position relative to the
        object's prior, (p - c) / 8s for the pixel c. It is linear, so the
        part with p is constant for an object and joins the bias; the other
        one has the same input for all objects.

        Args:
            mask_feat (Tensor): (num_prototypes, h, w) or
                (1, num_prototypes, h, w) features.
            kernels (Tensor): (n, num_gen_params) parameters of the layers.
            priors (Tensor): (n, 4) x, y and strides of the priors in pixels.

        Returns:
            Tensor: (n, h, w) logits.
        """
        height, width = mask_feat.shape[-2:]
        if not len(priors):
            return mask_feat.new_empty(0, height, width)
        # Image coordinates need more digits than half precision has.
        with torch.autocast(mask_feat.device.type, enabled=False):
            exact = torch.promote_types(kernels.dtype, torch.float32)
            kernels, priors = kernels.to(exact), priors.to(exact)
            number, channels = len(kernels), self.dyconv_channels
            pixels = self.prior_generator.single_level_grid_priors(
                (height, width), level_idx=0, device=mask_feat.device
            )
            inputs = torch.cat(
                [
                    pixels.T.to(exact),
                    mask_feat.to(exact).reshape(-1, height * width),
                ]
            )
            parts = kernels.split([*self.weight_nums, *self.bias_nums], dim=1)
            layers = len(self.weight_nums)
            first = parts[0].reshape(number, channels, -1)
            to_position = first[..., :2] / (8 * priors[:, 2, None, None])
            bias = parts[layers] + (to_position @ priors[:, :2, None])[..., 0]
            weight = torch.cat([-to_position, first[..., 2:]], dim=2)
            x = (weight.flatten(0, 1) @ inputs).reshape(number, channels, -1)
            x = x + bias[..., None]
            for weight, bias in zip(
                parts[1:layers], parts[layers + 1 :], strict=True
            ):
                x = torch.baddbmm(
                    bias[..., None],
                    weight.reshape(number, -1, channels),
                    x.relu(),
                )
        return x.reshape(number, height, width)

    # ------------------------------------------------------------ prediction
    def _bbox_mask_post_process(
        self,
        results: InstanceData,
        mask_feat: Tensor,
        cfg: ConfigType,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """Select boxes and make their masks.

        Args:
            results (InstanceData): ``bboxes`` (n, 4), ``scores``, ``labels``
                (n, ), ``kernels`` (n, num_gen_params) and ``priors`` (n, 4).
            mask_feat (Tensor): (num_prototypes, h, w) features.
            cfg (ConfigDict): ``test_cfg``.
            rescale (bool): Whether boxes and masks have the size of the
                image file. Defaults to False.
            with_nms (bool): Only True, the default, is possible.
            img_meta (dict): Metainfo of the image.

        Returns:
            InstanceData: Predictions with ``masks`` (n, H, W) bool.
        """
        assert with_nms and img_meta is not None
        back = (1.0, 1.0)
        if rescale:
            back = tuple(1 / s for s in img_meta['scale_factor'])
            results.bboxes = scale_boxes(results.bboxes, list(back))
        if 'score_factors' in results:
            results.scores = results.scores * results.pop('score_factors')
        if cfg.get('min_bbox_size', -1) >= 0:
            width, height = get_box_wh(results.bboxes)
            least = cfg.min_bbox_size
            results = results[(width > least) & (height > least)]
        if not len(results):
            size = img_meta['ori_shape' if rescale else 'img_shape'][:2]
            results.masks = results.scores.new_zeros(
                (0, *size), dtype=torch.bool
            )
            return results
        boxes, index = batched_nms(
            get_box_tensor(results.bboxes),
            results.scores,
            results.labels,
            cfg.nms,
        )
        results = results[index]
        results.scores = boxes[:, -1]
        results = results[: cfg.max_per_img]
        stride = self.prior_generator.strides[0][0]
        size = tuple(side * stride for side in mask_feat.shape[-2:])
        sizes = [size]
        shape = size
        if rescale:
            scaled = tuple(
                math.ceil(side * factor)
                for side, factor in zip(size, back[::-1], strict=True)
            )
            if scaled != size:
                sizes.append(scaled)
            shape = img_meta['ori_shape'][:2]
        results.masks = torch.cat(
            [
                binary_masks(
                    self._mask_predict_by_feat_single(
                        mask_feat, kernels, priors
                    ),
                    sizes,
                    shape,
                    cfg.mask_thr_binary,
                )
                for kernels, priors in zip(
                    results.kernels.split(self._piece(mask_feat)),
                    results.priors.split(self._piece(mask_feat)),
                    strict=True,
                )
            ]
        )
        return results

    def _piece(self, mask_feat: Tensor) -> int:
        """Number of objects whose masks are predicted at once."""
        height, width = mask_feat.shape[-2:]
        return pieces(mask_feat, self.dyconv_channels * height * width)

    # ---------------------------------------------------------------- losses
    def _get_targets_single(
        self,
        cls_scores: Tensor,
        bbox_preds: Tensor,
        flat_anchors: Tensor,
        valid_flags: Tensor,
        gt_instances: InstanceData,
        *args: Any,
        **kwargs: Any,
    ) -> tuple:
        """Assign priors to objects as MMDet does, and weight their labels."""
        with mock.patch.object(
            dynamic_soft_label_assigner, 'center_of_mass', center_of_mass
        ):
            targets = super()._get_targets_single(
                cls_scores,
                bbox_preds,
                flat_anchors,
                valid_flags,
                gt_instances,
                *args,
                **kwargs,
            )
        sampled = targets[-1]
        if sampled is None or 'weights' not in gt_instances:
            return targets
        weights = gt_instances.weights[sampled.pos_assigned_gt_inds]
        sampled.pos_weights = weights
        # `allowed_border` is -1 in RTMDet: every prior is inside.
        targets[2][sampled.pos_inds] *= weights
        return targets

    def loss_by_feat_single(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        assign_metrics: Tensor,
        stride: list[int],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the losses of one level; see MMDet's method.

        The box loss of a prior has the weight of its label, too.
        """
        labels, metrics = labels.reshape(-1), assign_metrics.reshape(-1)
        label_weights = label_weights.reshape(-1)
        loss_cls = self.loss_cls(
            cls_score.permute(0, 2, 3, 1).reshape(-1, self.cls_out_channels),
            (labels, metrics),
            label_weights,
            avg_factor=1.0,
        )
        found = ((labels >= 0) & (labels < self.num_classes)).nonzero()[:, 0]
        if len(found):
            loss_bbox = self.loss_bbox(
                bbox_pred.reshape(-1, 4)[found],
                bbox_targets.reshape(-1, 4)[found],
                weight=(metrics * label_weights)[found],
                avg_factor=1.0,
            )
        else:
            loss_bbox = bbox_pred.sum() * 0
        return loss_cls, loss_bbox, metrics.sum(), metrics[found].sum()

    def loss_mask_by_feat(
        self,
        mask_feats: Tensor,
        flatten_kernels: Tensor,
        sampling_results_list: list,
        batch_gt_instances: InstanceList,
    ) -> Tensor:
        """Compute the mask loss.

        Args:
            mask_feats (Tensor): (B, num_prototypes, h, w) features.
            flatten_kernels (Tensor): (B, priors, num_gen_params) parameters
                of the dynamic layers.
            sampling_results_list (list[SamplingResult]): Priors that are
                assigned to objects, for each image.
            batch_gt_instances (list[InstanceData]): Objects of each image
                with ``masks`` (n, H, W) bool.

        Returns:
            Tensor: Loss, a scalar.
        """
        stride = self.mask_loss_stride
        logits, masks, weights = [], [], []
        for features, kernels, sampled, item in zip(
            mask_feats,
            flatten_kernels,
            sampling_results_list,
            batch_gt_instances,
            strict=True,
        ):
            logits.append(
                self._mask_predict_by_feat_single(
                    features, kernels[sampled.pos_inds], sampled.pos_priors
                )
            )
            small = item.masks[:, stride // 2 :: stride, stride // 2 :: stride]
            masks.append(small[sampled.pos_assigned_gt_inds])
            weights.append(
                getattr(
                    sampled, 'pos_weights', sampled.pos_priors.new_ones(())
                ).expand(len(sampled.pos_inds))
            )
        pred, target = torch.cat(logits), torch.cat(masks)
        factor = reduce_mean(pred.new_tensor([len(pred)])).clamp(min=1)
        if not len(pred):
            return mask_feats.sum() * 0
        width = item.masks.shape[-1]
        pred = F.interpolate(
            pred[None],
            scale_factor=(width // stride) // pred.shape[-1],
            mode='bilinear',
            align_corners=False,
        )[0]
        return self.loss_mask(
            pred, target, weight=torch.cat(weights), avg_factor=factor[0]
        )
