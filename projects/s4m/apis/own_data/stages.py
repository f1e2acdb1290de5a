# SPDX-License-Identifier: Apache-2.0
"""Train the stages of a run, and publish its best network."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from s4m.apis.config import get_config
from s4m.apis.pipeline import Launcher, run_stage
from s4m.apis.pseudo_label_file import keep_or_set_aside
from s4m.apis.pseudo_labels import PseudoLabelGenerator
from s4m.apis.publish import publish

from .messages import Console
from .report import write_report
from .run_folder import RunFolder, branch_of, network_files, open_run

_AP = 'coco/segm_mAP'


@dataclass(frozen=True)
class TrainResult:
    """What ``s4m train`` made.

    Attributes:
        out (Path): Folder of the run.
        best (str): Network in ``model.pth``: ``supervised``, ``student`` or
            ``teacher``.
        ap (dict[str, float]): Mask AP x 100 of each network on the
            validation images; empty if there are none.
        model (Path): Published weights.
        config (Path): Published config.
        report (Path): The page with the results.
    """

    out: Path
    best: str
    ap: dict[str, float]
    model: Path
    config: Path
    report: Path


def train_stages(
    run: RunFolder, console: Console, gpus: int, amp: str | None
) -> TrainResult:
    """Train and test the stages, choose the best network, publish it."""
    stages = run.stages()
    networks: dict[str, dict[str, float]] = {}
    seconds = {}
    has_val = (run.data / 'val.json').is_file()
    for name, stage in stages.items():
        total = int(stage.load().train_cfg.max_iters)
        with console.progress(name, total) as progress:
            launcher = Launcher(
                gpus=gpus,
                amp=amp,
                quiet=gpus == 1,
                progress=lambda _, done: progress(done),
            )
            result = run_stage(stage, launcher, test=has_val)
        seconds[name] = result['train_seconds']
        for network, metrics in result['metrics'].items():
            networks[network if network != 'model' else name] = metrics
    ap = {k: 100 * v.get(_AP, 0.0) for k, v in networks.items()}
    best = _best(ap, list(stages))
    run.update(metrics=networks, seconds=seconds, best=best)
    config, model = _publish(run, best)
    if 'student' in stages:
        _label(run, best, console)
    report = write_report(run)
    _conclude(console, run, ap, best)
    return TrainResult(run.path, best, ap, model, config, report)


def _best(ap: Mapping[str, float], stages: list[str]) -> str:
    """Name the network with the best AP; without one, the last stage's."""
    if not ap:
        return stages[-1]
    # At one AP the student counts, which the papers report.
    order = ('student', 'teacher', 'supervised')
    return max(
        (name for name in order if name in ap), key=lambda name: ap[name]
    )


def _publish(run: RunFolder, best: str) -> tuple[Path, Path]:
    """Write ``model.py`` and ``model.pth``."""
    with tempfile.TemporaryDirectory(dir=run.path) as folder:
        for file, target in zip(
            publish_network(run, folder, best), run.model, strict=True
        ):
            os.replace(file, target)
    return run.model


def _label(run: RunFolder, best: str, console: Console) -> None:
    """Write the pseudo-labels of the unlabelled images."""
    data = run.data / 'unlabeled.json'
    if not data.is_file():
        return
    config, checkpoint = network_files(run, best)
    cfg = get_config(run.config)
    generator = PseudoLabelGenerator(
        config,
        checkpoint,
        images=data,
        image_root=cfg.unlabeled_images,
        model=branch_of(best),
        max_per_image=cfg.num_objects,
        workers=0,
    )
    if not keep_or_set_aside(run.pseudo_labels, generator.settings):
        generator.generate(run.pseudo_labels)


def _conclude(
    console: Console, run: RunFolder, ap: Mapping[str, float], best: str
) -> None:
    """Print the APs, what is where, and what to do next."""
    if ap:
        rows = [
            (name, f'{value:.1f}', f'{value - ap["supervised"]:+.1f}')
            for name, value in ap.items()
        ]
        console.table(('network', 'mask AP x 100', 'to supervised'), rows)
        if best == 'supervised' and len(ap) > 1:
            console.say(
                'The unlabelled images did not help: model.pth is the '
                'supervised network.'
            )
    config, model = run.model
    console.say(f'{model}: the {best} network, with {config}')
    console.say(f'{run.report}: results, labels and what looks wrong')


def publish_network(
    run: RunFolder | str | os.PathLike,
    out: str | os.PathLike,
    network: str | None = None,
) -> tuple[Path, Path]:
    """Write a network of a run as a plain model of MMDetection.

    Args:
        run: A run, or its folder.
        out: Folder to write.
        network (str, optional): ``supervised``, ``student`` or ``teacher``.
            Defaults to None, the best one.

    Returns:
        tuple[Path, Path]: config and weights.

    Raises:
        FileNotFoundError: if the folder is no run, or not trained.
        ValueError: if the run has no such network.

    Example::

        publish_network('runs/apples', 'published', 'teacher')
    """
    if not isinstance(run, RunFolder):
        run = open_run(run)
    chosen = network or run.read().get('best') or list(run.stages())[-1]
    config, checkpoint = network_files(run, chosen)
    weights, plain = publish(
        config,
        checkpoint,
        out=out,
        model=branch_of(chosen),
    )
    return plain, weights
