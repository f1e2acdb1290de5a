# SPDX-License-Identifier: Apache-2.0
"""Predict images, as pictures and a COCO file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmcv
import torch
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device

from s4m.datasets.coco_io import instance_annotations
from s4m.utils.whole_files import write_json

from .config import config_path, get_config
from .photos import (
    PathLike,
    Photos,
    check_some_readable,
    common_folder,
    find_photos,
    read_batches,
)
from .prediction import load_model


@dataclass(frozen=True)
class Predictions:
    """What :func:`predict_images` wrote.

    Attributes:
        file (Path): ``predictions.json``: images, categories, and
            annotations with RLE masks and ``score``, ids from 1.
        pictures (Path): Folder of the pictures.
        images (int): Number of images that were predicted.
        instances (int): Number of their instances.
        broken (tuple[Path, ...]): Files that could not be read.
    """

    file: Path
    pictures: Path
    images: int
    instances: int
    broken: tuple[Path, ...]


@torch.no_grad()
def predict_images(
    images: PathLike | Sequence[PathLike],
    config: str | Path | Config,
    checkpoint: str | Path,
    out: str | Path,
    *,
    score_thr: float = 0.3,
    network: str | None = None,
    device: str | None = None,
) -> Predictions:
    """Predict the instances of images.

    Files that are not images are left out.

    Args:
        images: Folder of images, image, pattern, or several of them, see
            :func:`~s4m.apis.photos.find_photos`.
        config (str | Path | Config): Config, by path or by name.
        checkpoint (str | Path): Weights of the config's model.
        out (str | Path): Folder that gets ``vis/`` with a picture of each
            image and ``predictions.json``. The pictures have the names and
            subfolders of the images below the images' common folder.
        score_thr (float): Minimum score of an instance that is painted and
            written. Defaults to 0.3.
        network (str, optional): Network of a semi-supervised model,
            ``student`` or ``teacher``. Defaults to None, the config's.
        device (str, optional): ``cuda:0``, ``cpu`` ... Defaults to None, a
            GPU if there is one.

    Returns:
        Predictions: places, numbers, and the files that are broken.

    Raises:
        FileNotFoundError: if there is no image, config or checkpoint.
        ValueError: if none of the files can be read as an image.

    Example::

        predict_images(['a/', 'b/*.jpg'], 's4m_cityscapes_10p',
                       'iter_90000.pth', 'results').broken
    """
    files = find_photos(images)
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f'Checkpoint {checkpoint} does not exist')
    cfg = config
    if not isinstance(cfg, Config):
        cfg = get_config(config_path(cfg))
    device = device or get_device()
    model, classes = load_model(cfg, checkpoint, device, network)
    painter = DetLocalVisualizer()
    painter.dataset_meta = dict(classes=classes, palette='random')
    pictures, root = Path(out) / 'vis', common_folder(files)
    category_ids = list(range(1, len(classes) + 1))
    infos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    broken: list[Path] = []
    photos = Photos(files, cfg.test_dataloader.dataset.pipeline)
    for (photo,) in read_batches(photos, 1, broken, device):
        (sample,) = model.test_step(pseudo_collate([photo.packed]))
        height, width = photo.pixels.shape[:2]
        image_id = len(infos) + 1
        infos.append(
            dict(
                id=image_id,
                file_name=str(photo.file),
                height=height,
                width=width,
            )
        )
        pred = sample.pred_instances
        sample.pred_instances = pred = pred[pred.scores >= score_thr]
        for annotation in instance_annotations(pred, image_id, category_ids):
            annotations.append(dict(id=len(annotations) + 1, **annotation))
        name = Path(os.path.abspath(photo.file)).relative_to(root)
        painter.add_datasample(
            name.name,
            mmcv.bgr2rgb(photo.pixels),
            sample.cpu(),
            draw_gt=False,
            pred_score_thr=score_thr,
            out_file=str(pictures / name),
        )
    check_some_readable(len(infos), broken, 'images')
    target = Path(out) / 'predictions.json'
    categories = [dict(id=i + 1, name=n) for i, n in enumerate(classes)]
    write_json(
        target,
        dict(images=infos, annotations=annotations, categories=categories),
    )
    return Predictions(
        target, pictures, len(infos), len(annotations), tuple(broken)
    )


def infer(
    images: PathLike | Sequence[PathLike],
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    score_thr: float = 0.3,
    device: str | None = None,
) -> Path:
    """Predict the instances of images, and fail if some are broken.

    Args:
        images: See :func:`predict_images`, as the other arguments.
        config (str | Path): Config, by path or by name.
        checkpoint (str | Path): Weights of the config's model.
        out (str | Path): Folder of the pictures and ``predictions.json``.
        score_thr (float): Minimum score. Defaults to 0.3.
        device (str, optional): Defaults to None, a GPU if there is one.

    Returns:
        Path: ``predictions.json``.

    Raises:
        FileNotFoundError: if there is no image, config or checkpoint.
        ValueError: if a file cannot be read as an image, after the other
            images are predicted.

    Example::

        infer('images/', 's4m_cityscapes_10p', 'iter_90000.pth', 'results')
    """
    made = predict_images(
        images, config, checkpoint, out, score_thr=score_thr, device=device
    )
    print(f'{made.file}: {made.instances} instances in {made.images} images')
    if made.broken:
        raise ValueError(
            f'{len(made.broken)} of {made.images + len(made.broken)} files '
            'cannot be read as an image: '
            + ', '.join(str(file) for file in made.broken)
        )
    return made.file
