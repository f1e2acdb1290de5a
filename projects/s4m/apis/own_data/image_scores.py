# SPDX-License-Identifier: Apache-2.0
"""Compute the terms of a suggestion for a folder of images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from s4m.apis.photos import Photo, Photos, read_batches
from s4m.models.pseudo_labels import PredictionPseudoLabeler
from s4m.utils.random_states import keep_random_state

from .suggestion_terms import (
    rare_class,
    sam_disagreement,
    uncertainty,
    view_disagreement,
)

#: Largest number of an image's masks that are compared with a segmenter's.
_MAX_PROMPTS = 100
#: Longer side in pixels at which masks of views are compared.
_COMPARED_SIDE = 256


@dataclass
class ImageScores:
    """Terms and features of the images that could be read.

    Attributes:
        files (list[Path]): The N images.
        terms (dict[str, ndarray]): (N, ) values in 0..1 of ``uncertainty``,
            ``views``, ``sam`` and ``rare``, as far as they were computed.
        features (ndarray): (N, C) mean of the backbone's last map.
        broken (list[Path]): Images that could not be read.
    """

    files: list[Path]
    terms: dict[str, np.ndarray]
    features: np.ndarray
    broken: list[Path]


class ImageScorer:
    """Computes what :func:`~s4m.apis.own_data.suggest` ranks images by.

    A batch is read once, and predicted as it is and mirrored in one pass,
    at the size of the test pipeline.

    Args:
        model (BaseDetector): A detector in eval mode, or a semi-supervised
            model.
        pipeline (Sequence[dict]): Its test pipeline.
        rarity (Tensor, optional): (K, ) rarity of each class. Defaults to
            None, without the term ``rare``.
        refiner (Mapping, optional): Config of a ``PseudoLabelRefiner``, whose
            segmenter is asked. Defaults to None, without the term ``sam``.
        batch_size (int): Number of images in a batch. Defaults to 4.
        min_score (float): Score above which a prediction counts. Defaults to
            0.1: below, there is rarely an object.

    Example::

        model, _ = load_model(cfg, 'model.pth')
        scorer = ImageScorer(model, cfg.test_dataloader.dataset.pipeline)
        scorer.score(find_photos('photos/')).terms['uncertainty']
    """

    def __init__(
        self,
        model: BaseDetector,
        pipeline: Sequence[dict[str, Any]],
        rarity: Tensor | None = None,
        refiner: Mapping[str, Any] | None = None,
        batch_size: int = 4,
        min_score: float = 0.1,
    ) -> None:
        self.model, self.pipeline = model, pipeline
        self.device = next(model.parameters()).device
        self.rarity = None if rarity is None else rarity.to(self.device)
        self.refiner: nn.Module | None = None
        if refiner is not None:
            # All masks are compared: nothing is removed.
            keeping = dict(refiner, min_refine_iou=0.0, nms_iou_thr=None)
            self.refiner = MODELS.build(keeping)
        self.batch_size = batch_size
        self.labeler = PredictionPseudoLabeler(min_score, 0).to(self.device)

    @torch.no_grad()
    def score(self, files: Sequence[Path]) -> ImageScores:
        """Compute terms and features.

        Args:
            files (Sequence[Path]): Images, of which broken ones are left
                out.
        """
        photos = Photos(files, self.pipeline)
        broken: list[Path] = []
        read: list[Path] = []
        rows: list[dict[str, Tensor]] = []
        features = []
        # The refiner draws points.
        with keep_random_state():
            torch.manual_seed(0)
            for batch in self._batches(photos, broken):
                found, maps = self._predict(batch)
                features.append(maps)
                rows += self._terms(batch, found)
                read += [photo.file for photo in batch]
        terms = {
            name: torch.stack([row[name] for row in rows]).cpu().numpy()
            for name in (rows[0] if rows else ())
        }
        stacked = torch.cat(features).cpu().numpy() if features else None
        if stacked is None:
            stacked = np.zeros((0, 1), np.float32)
        return ImageScores(read, terms, stacked, broken)

    @torch.no_grad()
    def features(self, files: Sequence[Path]) -> np.ndarray:
        """Compute features alone, for images that are labelled.

        Args:
            files (Sequence[Path]): Images, of which broken ones are left
                out.

        Returns:
            ndarray: (M, C).
        """
        net = self._net()
        rows = []
        for batch in self._batches(Photos(files, self.pipeline), []):
            data = pseudo_collate([photo.packed for photo in batch])
            data = net.data_preprocessor(data, False)
            maps = net.backbone(data['inputs'])
            rows.append(_pooled(maps, data['data_samples']))
        if not rows:
            return np.zeros((0, 1), np.float32)
        return torch.cat(rows).cpu().numpy()

    def _batches(self, photos: Photos, broken: list[Path]) -> Any:
        return read_batches(photos, self.batch_size, broken, self.device.type)

    def _net(self) -> BaseDetector:
        """Return the network that predicts."""
        if hasattr(self.model, 'semi_test_cfg'):
            return getattr(self.model, self.model.semi_test_cfg['predict_on'])
        return self.model

    def _predict(self, batch: list[Photo]) -> tuple[SampleList, Tensor]:
        """Predict a batch and its mirror images.

        Returns:
            tuple: 2 B samples with ``pred_instances`` at the size of the
            network's input, and (B, C) features.
        """
        maps: list[Any] = []
        hook = self._net().backbone.register_forward_hook(
            lambda module, inputs, output: maps.append(output)
        )
        items = []
        for mirrored in (False, True):
            for photo in batch:
                sample = copy.deepcopy(photo.packed['data_samples'])
                # Masks at the size of the input: those of a photo of 12
                # megapixels would take a GiB for 100 predictions.
                sample.set_metainfo(
                    dict(
                        ori_shape=sample.img_shape[:2],
                        scale_factor=(1.0, 1.0),
                    )
                )
                pixels = photo.packed['inputs']
                pixels = pixels.flip(-1) if mirrored else pixels
                items.append(dict(inputs=pixels, data_samples=sample))
        try:
            samples = self.model.test_step(pseudo_collate(items))
        finally:
            hook.remove()
        return samples, _pooled(maps[0], samples)[: len(batch)]

    def _terms(
        self, batch: list[Photo], samples: SampleList
    ) -> list[dict[str, Tensor]]:
        """Compute the terms of each image of a batch."""
        sizes = [sample.img_shape[:2] for sample in samples]
        padded = tuple(map(max, zip(*sizes, strict=True)))
        for sample in samples:
            pred = sample.pred_instances
            pred.masks = torch.as_tensor(pred.masks, device=self.device)
            sample.set_metainfo(dict(batch_input_shape=padded))
        items = self.labeler(samples, samples)
        items = [
            item[item.scores.argsort(descending=True, stable=True)]
            for item in items
        ]
        views, mirrored = items[: len(batch)], items[len(batch) :]
        prompts = [item[:_MAX_PROMPTS] for item in views]
        ious = self._sam_ious(batch, prompts, padded)
        rows = []
        for k, item in enumerate(views):
            width = sizes[k][1]
            row = dict(
                uncertainty=uncertainty(item.scores),
                views=view_disagreement(
                    _small(item, width), _small(mirrored[k], width, flip=True)
                ),
            )
            if ious is not None:
                prompted = item.scores[: len(ious[k])]
                row['sam'] = sam_disagreement(prompted, ious[k])
            if self.rarity is not None:
                row['rare'] = rare_class(item.scores, item.labels, self.rarity)
            rows.append(row)
        return rows

    def _sam_ious(
        self, batch: list[Photo], views: InstanceList, size: tuple[int, ...]
    ) -> list[Tensor] | None:
        """Return the IoU of each mask with the segmenter's."""
        if self.refiner is None:
            return None
        if not any(len(item) for item in views):
            return [item.scores for item in views]
        rgb = []
        for photo in batch:
            bgr = photo.packed['inputs']
            height, width = bgr.shape[1:]
            rgb.append(
                F.pad(bgr.flip(0), (0, size[1] - width, 0, size[0] - height))
            )
        images = torch.stack(rgb).to(self.device).float()
        return [item.refine_iou for item in self.refiner(images, views)]


def _small(
    item: Any, width: int, flip: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, labels, and masks that are thinned to 256 pixels."""
    masks = item.masks[..., :width]
    if flip:
        masks = masks.flip(-1)
    step = max(1, max(masks.shape[-2:]) // _COMPARED_SIDE)
    return item.scores, item.labels, masks[:, ::step, ::step]


def _pooled(maps: Any, samples: SampleList) -> Tensor:
    """Return the mean of the last map over each image's valid part."""
    last = maps if isinstance(maps, Tensor) else tuple(maps)[-1]
    rows = []
    for row, sample in zip(last.float(), samples, strict=True):
        shape = sample.metainfo.get('batch_input_shape', sample.img_shape)
        height, width = (
            max(1, -(-valid * cells // whole))
            for valid, whole, cells in zip(
                sample.img_shape[:2], shape[:2], row.shape[-2:], strict=True
            )
        )
        rows.append(row[:, :height, :width].mean((1, 2)))
    return torch.stack(rows)
