# SPDX-License-Identifier: Apache-2.0
"""Predictions of a run's networks, which its page is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmengine.structures import InstanceData
from rich.progress import track
from torch import Tensor

from s4m.apis.config import get_config
from s4m.apis.prediction import load_model
from s4m.apis.pseudo_labels import PseudoLabelGenerator
from s4m.datasets.coco_io import encode_masks, read_coco, write_coco
from s4m.datasets.image_views import ImageViews
from s4m.evaluation.teacher_quality import add_positions
from s4m.structures import replace_fields
from s4m.structures.masks import masks_at_image_size, spatial_size
from s4m.utils.digests import file_digest
from s4m.utils.random_states import keep_random_state, seed_generators
from s4m.utils.whole_files import write_json

from .run_folder import RunFolder, branch_of, network_files

Coco = dict[str, Any]
#: A check of more labelled images than this would take long without a GPU.
MAX_CHECKED = 1000
#: Score above which a prediction on a labelled image is looked at.
DOUBTFUL = 0.05
#: What predictions depend on, among the settings of their file.
_SAME = ('checkpoint_sha256', 'images_sha256', 'model', 'score_thr')


def predict_validation(run: RunFolder, network: str) -> Coco:
    """Predict the validation images, or read the predictions of before.

    Args:
        run (RunFolder): A finished run with validation images.
        network (str): ``supervised``, ``student`` or ``teacher``.

    Returns:
        dict: COCO dictionary of all predictions, with ``score``.
    """
    cfg = get_config(run.config)
    root = cfg.test_dataloader.dataset.data_prefix.img
    file = run.data / f'predictions_val_{network}.json'
    return _predict(run, network, file, run.data / 'val.json', root, 0.0)


def predict_labeled(run: RunFolder, network: str) -> Coco:
    """Predict the labelled images, or read the predictions of before.

    Of more than :data:`MAX_CHECKED` images, this many are taken, which are
    spread evenly over the file.

    Args:
        run (RunFolder): A finished run.
        network (str): ``supervised``, ``student`` or ``teacher``.

    Returns:
        dict: COCO dictionary of the predictions above :data:`DOUBTFUL`.
    """
    source = run.data / 'labeled.json'
    data = read_coco(source)
    if len(data['images']) > MAX_CHECKED:
        source = run.data / 'labeled_checked.json'
        step = len(data['images']) / MAX_CHECKED
        chosen = [data['images'][int(i * step)] for i in range(MAX_CHECKED)]
        write_coco(
            source,
            images=chosen,
            annotations=[],
            categories=data['categories'],
        )
    root = get_config(run.config).labeled_images
    file = run.data / 'predictions_labeled.json'
    return _predict(run, network, file, source, root, DOUBTFUL)


def _predict(
    run: RunFolder,
    network: str,
    file: Path,
    images: Path,
    root: str,
    score_thr: float,
) -> Coco:
    """Make a file of predictions unless it is there."""
    config, checkpoint = network_files(run, network)
    generator = PseudoLabelGenerator(
        config,
        checkpoint,
        images=images,
        image_root=root,
        model=branch_of(network),
        score_thr=score_thr,
        # The network's own limit counts.
        max_per_image=100_000,
        workers=0,
    )
    wanted = {key: generator.settings[key] for key in _SAME}
    if _info(file) != wanted:
        file.unlink(missing_ok=True)
        generator.generate(file)
    return read_coco(file, ('images', 'annotations', 'categories'))


def _info(file: Path) -> dict[str, str] | None:
    """Return what the predictions of a file depend on."""
    try:
        info = json.loads(file.read_text())['info']
        return {key: info[key] for key in _SAME}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def refine_labels(run: RunFolder, images: Sequence[dict]) -> list[Coco]:
    """Make the teacher's pseudo-labels of some images, as S4M's training.

    The teacher at its end labels the images at test size, and the refiner of
    the config replaces the masks. A second call reads the results.

    Args:
        run (RunFolder): A finished run of S4M.
        images (Sequence[dict]): Entries of ``unlabeled.json``.

    Returns:
        list[dict]: ``image``; ``before`` and ``after`` are annotations with
        ``category_id``, ``score``, ``segmentation`` and ``position``, the
        index in ``before``.
    """
    config, checkpoint = network_files(run, 'student')
    file = run.data / 'predictions_refined.json'
    info = dict(
        checkpoint_sha256=file_digest(checkpoint),
        images=[image['file_name'] for image in images],
    )
    try:
        known = json.loads(file.read_text())
        if known['info'] == info:
            return known['rows']
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    cfg = get_config(config)
    model, _ = load_model(cfg, checkpoint)
    model.pseudo_labeler.register_forward_hook(add_positions)
    categories = read_coco(run.data / 'labeled.json')['categories']
    views = ImageViews(
        images, cfg.unlabeled_images, cfg.test_dataloader.dataset.pipeline
    )
    with keep_random_state():
        rows = []
        for number in track(range(len(views)), 'refinement'):
            seed_generators((number,))
            steps, size = _label(model, views[number][0])
            image = images[number]
            before, after = (
                _annotations(labels, size, image, categories)
                for labels in steps
            )
            rows.append(dict(image=image, before=before, after=after))
    write_json(file, dict(info=info, rows=rows))
    return rows


@torch.no_grad()
def _label(
    model: BaseDetector, item: dict[str, Any]
) -> tuple[list[InstanceData], tuple[int, int]]:
    """Label one image before and after refinement.

    Returns:
        tuple: pseudo-labels before and after, with masks at the size of the
        padded image, and the size of its part that is not padding.
    """
    # The preprocessor expects the branches of a training batch.
    data = model.data_preprocessor(
        dict(
            inputs=dict(unsup_teacher=[item['inputs']]),
            data_samples=dict(unsup_teacher=[item['data_samples']]),
        ),
        True,
    )
    steps = model.pseudo_label(data['inputs'], data['data_samples'])
    (sample,) = data['data_samples']['unsup_teacher']
    padded = spatial_size(steps.teacher_images)
    both = []
    for (item,) in (steps.teacher, steps.refined or steps.teacher):
        masks = masks_at_image_size(item, padded)
        both.append(replace_fields(item, masks=masks))
    return both, tuple(sample.img_shape[:2])


def _annotations(
    item: InstanceData,
    size: tuple[int, int],
    image: dict[str, Any],
    categories: Sequence[dict],
) -> list[dict[str, Any]]:
    """Encode pseudo-labels at the size of their image."""
    masks = item.masks[:, : size[0], : size[1]]
    rles = encode_masks(
        _resize(masks, (image['height'], image['width'])).cpu().numpy()
    )
    values = zip(
        item.labels.tolist(),
        item.scores.tolist(),
        item.position.tolist(),
        rles,
        strict=True,
    )
    return [
        dict(
            category_id=categories[label]['id'],
            score=round(score, 4),
            position=position,
            segmentation=rle,
        )
        for label, score, position, rle in values
    ]


def _resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (n, H, W) masks, one after the other: images may be large."""
    if not len(masks):
        return masks.new_zeros((0, *size))
    return torch.cat(
        [
            torch.nn.functional.interpolate(
                mask[None, None].float(), size, mode='bilinear'
            )[0]
            > 0.5
            for mask in masks
        ]
    )


def work_dirs(run: RunFolder) -> dict[str, Path]:
    """Return the work directory of each stage."""
    return {name: stage.makes for name, stage in run.stages().items()}
