# SPDX-License-Identifier: Apache-2.0
"""Predict a folder of images, as pictures and a COCO file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from mmdet.apis import DetInferencer
from rich.progress import track

from s4m.datasets.coco_io import instance_annotations
from s4m.datasets.converters.images import find_images
from s4m.utils.whole_files import write_json

from .config import config_path


def infer(
    images: str | Path,
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    score_thr: float = 0.3,
    device: str | None = None,
) -> Path:
    """Predict the instances of images.

    Args:
        images (str | Path): Folder of images, or one image.
        config (str | Path): Config, by path or by name.
        checkpoint (str | Path): Weights of the config's model.
        out (str | Path): Folder that gets ``vis/`` with a picture of each
            image and ``predictions.json``: images, categories, and
            annotations with RLE masks and ``score``, ids from 1.
        score_thr (float): Minimum score of an instance that is painted and
            written. Defaults to 0.3.
        device (str, optional): ``cuda:0``, ``cpu`` ... Defaults to None, a
            GPU if there is one.

    Returns:
        Path: ``predictions.json``.

    Raises:
        FileNotFoundError: if there is no image, config or checkpoint.
        ValueError: if a file cannot be read as an image.

    Example::

        infer('images/', 's4m_cityscapes_10p', 'iter_90000.pth', 'results')
    """
    files = find_images(Path(images))
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f'Checkpoint {checkpoint} does not exist')
    inferencer = DetInferencer(
        str(config_path(config)), str(checkpoint), device, show_progress=False
    )
    classes = inferencer.visualizer.dataset_meta['classes']
    category_ids = list(range(1, len(classes) + 1))
    infos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, file in enumerate(track(files, 'images'), 1):
        if cv2.imread(str(file)) is None:
            raise ValueError(f'{file} cannot be read as an image')
        result = inferencer(
            str(file),
            out_dir=str(out),
            pred_score_thr=score_thr,
            return_datasamples=True,
        )
        (sample,) = result['predictions']
        height, width = sample.ori_shape
        infos.append(
            dict(id=image_id, file_name=str(file), height=height, width=width)
        )
        pred = sample.pred_instances
        pred = pred[pred.scores >= score_thr]
        for annotation in instance_annotations(pred, image_id, category_ids):
            annotations.append(dict(id=len(annotations) + 1, **annotation))
    target = Path(out) / 'predictions.json'
    categories = [dict(id=i + 1, name=n) for i, n in enumerate(classes)]
    write_json(
        target,
        dict(images=infos, annotations=annotations, categories=categories),
    )
    print(f'{target}: {len(annotations)} instances in {len(infos)} images')
    return target
