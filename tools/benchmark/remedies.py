# SPDX-License-Identifier: Apache-2.0
"""Compare labelling, refinement and losses with and without remedies.

The remedies are those of docs/remedies.md. The images are 4 random ones, and
every query of a random teacher that has a class becomes a pseudo-label.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import revert_sync_batchnorm
from s4m.apis.config import get_config
from s4m.models import PseudoLabelRefiner
from s4m.models.promptable import PromptableSegmenter
from s4m.structures import project_pseudo_instances, replace_fields
from s4m.utils.timing import measure


def compare(
    segmenter: PromptableSegmenter,
    gd_config: str | Path,
    size: tuple[int, int],
    repeats: int,
    device: str,
    **_,
) -> dict[str, dict[str, float]]:
    """Measure times and memory by the name of the variant.

    Args:
        segmenter (PromptableSegmenter): A ``SAM2Segmenter``.
        gd_config (str | Path): Config of Guided Distillation, by path or by
            name.
        size (tuple[int, int]): (H, W) of the images.
        repeats (int): Number of turns.
        device (str): Device of the networks.
    """
    cfg = get_config(gd_config)
    cfg.model.detector.backbone.init_cfg = None
    plain = dict(type='QueryPseudoLabeler', cls_thr=0.0, size_thr=0.0)
    cfg.model.pseudo_labeler = plain
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device).train()
    model.unsup_weight = 1.0
    num_classes = cfg.model.detector.panoptic_head.num_things_classes
    rgb = torch.rand(4, 3, *size, device=device) * 255
    metainfo = dict(img_shape=size, batch_input_shape=size, pad_shape=size)
    samples = [DetDataSample(metainfo=metainfo) for _ in range(4)]

    def labelling(labeler: dict) -> Callable[[], Any]:
        part = MODELS.build(labeler).to(device)

        def label():
            model.pseudo_labeler = part
            return model.get_pseudo_instances(rgb, samples)

        return label

    labels = labelling(plain)()

    def refinement(**options) -> Callable[[], Any]:
        refiner = PseudoLabelRefiner({}, **options)
        refiner.set_segmenter(segmenter)
        return lambda: refiner(rgb, labels)

    def losses(weighted: bool, bn_stats: str) -> Callable[[], Any]:
        items = [
            replace_fields(item, weights=item.scores) if weighted else item
            for item in labels
        ]
        mask_size = tuple(labels[0].masks.shape[-2:])
        targets = project_pseudo_instances(items, size, 'tensor', mask_size)
        labelled = copy.copy(samples)
        for i, target in enumerate(targets):
            labelled[i] = samples[i].new()
            labelled[i].gt_instances = target
        view = model.data_preprocessor.normalize(rgb)

        def loss() -> None:
            model.bn_stats = bn_stats
            out = model.loss_by_pseudo_instances(view, labelled)
            model.parse_losses(out)[0].backward()
            model.student.zero_grad()

        return loss

    agreement = dict(type='ViewAgreementPseudoLabeler', labeler=plain)
    count = sum(len(item) for item in labels) / 4
    return measure(
        {
            f'labelling ({count:.0f} pseudo-labels an image)': labelling(
                plain
            ),
            'labelling, nms_iou_thr': labelling(dict(plain, nms_iou_thr=0.5)),
            'labelling, thresholds by class': labelling(
                dict(plain, cls_thr=[0.0] * num_classes)
            ),
            'labelling, weight_by mask_score': labelling(
                dict(plain, weight_by='mask_score')
            ),
            'labelling, agreement of two views': labelling(agreement),
            'refinement': refinement(),
            'refinement, nms_iou_thr': refinement(nms_iou_thr=0.5),
            'refinement, min_refine_iou': refinement(min_refine_iou=0.5),
            'refinement, weight_by_iou': refinement(weight_by_iou=True),
            "student's losses, backward": losses(False, 'all'),
            "student's losses, weights": losses(True, 'all'),
            "student's losses, bn_stats": losses(False, 'labeled'),
        },
        repeats,
    )
