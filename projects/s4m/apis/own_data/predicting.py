# SPDX-License-Identifier: Apache-2.0
"""Predict images with a network of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from s4m.apis.inference import predict_images
from s4m.apis.photos import PathLike, check_new

from .networks import choose_network


@dataclass(frozen=True)
class PredictResult:
    """What ``s4m predict`` made.

    Attributes:
        out (Path): Folder of the results.
        predictions (Path): COCO file with RLE masks and ``score``.
        pictures (Path): Folder of the painted images.
        images (int): Number of images that were predicted.
        instances (int): Number of their instances.
        broken (tuple[Path, ...]): Files that could not be read.
    """

    out: Path
    predictions: Path
    pictures: Path
    images: int
    instances: int
    broken: tuple[Path, ...]

    @property
    def status(self) -> int:
        """Exit status of the command: 1 if files could not be read."""
        return int(bool(self.broken))


def predict(
    run: str | os.PathLike | None,
    images: PathLike | Sequence[PathLike],
    *,
    out: str | os.PathLike,
    score_thr: float = 0.3,
    network: str | None = None,
    config: str | os.PathLike | None = None,
    checkpoint: str | os.PathLike | None = None,
    device: str | None = None,
) -> PredictResult:
    """Predict images: a picture of each, and one COCO file.

    Files that are not images are left out and listed in the result.

    Args:
        run: Folder that ``s4m train --out`` named, or None with ``config``
            and ``checkpoint``.
        images: Folder of images, image, pattern such as ``'a/**/*.jpg'``, or
            several of them.
        out: Folder that gets ``predictions.json`` and ``vis/``, where the
            pictures have the subfolders of the images.
        score_thr (float): Minimum score of an instance. Defaults to 0.3.
        network (str, optional): ``supervised``, ``student`` or ``teacher``
            of the run. Defaults to None, the best.
        config: Config of any model of MMDetection, by path or by name.
            Defaults to None, the run's.
        checkpoint: Weights for ``config``. Defaults to None.
        device (str, optional): ``cuda:0``, ``cpu`` ... Defaults to None, a
            GPU if there is one.

    Returns:
        PredictResult: places, numbers, and the files that are broken.

    Raises:
        FileNotFoundError: if there is no run, model or image.
        FileExistsError: if ``out`` has files.
        ValueError: if the network is unknown, no file is an image, or there
            is a run and a config, or neither.

    Example::

        from s4m.apis.own_data import predict

        result = predict('runs/apples', 'photos/', out='predicted')
        result.pictures  # predicted/vis
    """
    if (run is None) == (config is None) or (
        (config is None) != (checkpoint is None)
    ):
        raise ValueError(
            'Name a run, or a config and a checkpoint (--config, --checkpoint)'
        )
    if not 0 <= score_thr <= 1:
        raise ValueError(f'score_thr must be in 0..1, got {score_thr}')
    branch = None
    if run is not None:
        chosen = choose_network(run, network)
        config, checkpoint = chosen.config, chosen.checkpoint
        branch = chosen.branch
    elif network is not None:
        branch = network
    assert config is not None and checkpoint is not None
    made = predict_images(
        images,
        Path(config),
        Path(checkpoint),
        check_new(out),
        score_thr=score_thr,
        network=branch,
        device=device,
    )
    return PredictResult(
        Path(out),
        made.file,
        made.pictures,
        made.images,
        made.instances,
        made.broken,
    )
