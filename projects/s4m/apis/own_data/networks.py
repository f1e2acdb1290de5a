# SPDX-License-Identifier: Apache-2.0
"""Choose a trained network of a run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from s4m.apis.config import get_config

from .run_folder import (
    RunFolder,
    branch_of,
    network_files,
    network_names,
    open_run,
)


@dataclass(frozen=True)
class Network:
    """A trained network and what belongs to it.

    Attributes:
        name (str): ``supervised``, ``student`` or ``teacher``.
        config (Path): Its config.
        checkpoint (Path): Its weights.
        branch (str): Network of a semi-supervised checkpoint, ``student`` or
            ``teacher``. A checkpoint of one network ignores it.
        refiner (dict, optional): Config of the refiner, which has the run's
            SAM 2; None where the run has none.
    """

    name: str
    config: Path
    checkpoint: Path
    branch: str = 'student'
    refiner: dict[str, Any] | None = None


def choose_network(
    run: str | os.PathLike | RunFolder, network: str | None = None
) -> Network:
    """Choose a network of a run.

    Args:
        run: Folder that ``s4m train --out`` named.
        network (str, optional): ``supervised``, ``student`` or ``teacher``.
            Defaults to None, the best one, which is ``model.pth``.

    Raises:
        FileNotFoundError: if there is no run, or it has no trained network.
        ValueError: if the run does not train a network of this name.

    Example::

        choose_network('runs/apples').name  # 'student'
    """
    if not isinstance(run, RunFolder):
        run = open_run(run)
    not_yet = (
        f'{run.path} has no trained model yet: repeat s4m train --out '
        f'{run.path}, which goes on where it stopped'
    )
    if not run.config.is_file():
        raise FileNotFoundError(not_yet)
    names = network_names(run)
    if network is not None and network not in names:
        raise ValueError(
            f'{run.path} has no network {network!r}: choose one of '
            f'{", ".join(names)}'
        )
    refiner = get_config(run.config).model.get('refiner')
    if refiner is not None:
        refiner = refiner.to_dict()
    best = run.read().get('best')
    name = network or best
    if name is None:
        raise FileNotFoundError(not_yet)
    config, checkpoint = run.model
    if name == best and config.is_file() and checkpoint.is_file():
        # The published model has one network, and stays if a person removes
        # the checkpoints of the stages.
        return Network(name, config, checkpoint, refiner=refiner)
    try:
        config, checkpoint = network_files(run, name)
    except FileNotFoundError as e:
        raise FileNotFoundError(not_yet) from e
    return Network(name, config, checkpoint, branch_of(name), refiner)


def max_detections(cfg: Config) -> int:
    """Return how many predictions of an image the AP of a run counts.

    Args:
        cfg (Config): Config of a stage.
    """
    evaluators = cfg.test_evaluator
    if not isinstance(evaluators, list | tuple):
        evaluators = [evaluators]
    return max(100, *(e.get('max_dets') or 100 for e in evaluators))
