# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: what is where, and what the run is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s4m.apis.stages import Stage
from s4m.utils.checkpoints import find_checkpoint
from s4m.utils.whole_files import write_json

from .config_files import LAST, SUPERVISED

INFO = 'run.json'


@dataclass(frozen=True)
class RunFolder:
    """Places in the folder of a run that ``s4m train`` made.

    Attributes:
        path (Path): The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Config of the last stage."""
        return self.path / LAST

    @property
    def data(self) -> Path:
        """Folder of the annotations: labeled, unlabeled, val."""
        return self.path / 'data'

    @property
    def start(self) -> Path:
        """Weights that both stages start from."""
        return self.path / 'start.pth'

    @property
    def model(self) -> tuple[Path, Path]:
        """Published config and weights of the best network."""
        return self.path / 'model.py', self.path / 'model.pth'

    @property
    def pseudo_labels(self) -> Path:
        """Pseudo-labels of the unlabelled images, in COCO's format."""
        return self.path / 'pseudo_labels.json'

    @property
    def report(self) -> Path:
        """The page with the results."""
        return self.path / 'report.html'

    @property
    def log(self) -> Path:
        """What the command has printed."""
        return self.path / 'log'

    def work_dir(self, stage: str) -> Path:
        """Work directory of ``supervised`` or ``student``."""
        return self.path / 'stages' / stage

    def stages(self) -> dict[str, Stage]:
        """Return the stages of the configs in this folder, in order."""
        first = self.path / SUPERVISED
        if not first.is_file():
            return {
                'supervised': Stage(self.config, self.work_dir('supervised'))
            }
        teacher = Stage(first, self.work_dir('supervised'))
        student = Stage(
            self.config,
            self.work_dir('student'),
            needs={'model.teacher_checkpoint': teacher},
        )
        return dict(supervised=teacher, student=student)

    def read(self) -> dict[str, Any]:
        """Read what the run is and what came out.

        Raises:
            FileNotFoundError: if the folder is not a run.
            ValueError: if its record is damaged.
        """
        file = self.path / INFO
        if not file.is_file():
            raise FileNotFoundError(
                f'{self.path} is no run of s4m train: it has no {INFO}'
            )
        try:
            info = json.loads(file.read_text())
        except ValueError:
            info = None
        if not isinstance(info, dict) or 'request' not in info:
            raise ValueError(f'{file} is damaged; train into another folder')
        return info

    def update(self, **entries: Any) -> None:
        """Add entries to what is known of the run.

        Args:
            **entries: Values that JSON can hold.
        """
        file = self.path / INFO
        info = self.read() if file.is_file() else {}
        write_json(file, info | entries, indent=1, default=str)


def open_run(path: str | os.PathLike) -> RunFolder:
    """Return the folder of a run that exists.

    Args:
        path: Folder that ``s4m train --out`` named.

    Raises:
        FileNotFoundError: if there is no run; ValueError if it is damaged.

    Example::

        open_run('runs/apples').read()['classes']
    """
    run = RunFolder(Path(path))
    run.read()
    return run


def network_names(run: RunFolder) -> tuple[str, ...]:
    """Name the networks that a run trains.

    Example::

        network_names(open_run('runs/apples'))
        # ('supervised', 'student', 'teacher')
    """
    if 'student' in run.stages():
        return 'supervised', 'student', 'teacher'
    return ('supervised',)


def branch_of(network: str) -> str:
    """Name the network of a semi-supervised checkpoint, or ``student``."""
    return 'teacher' if network == 'teacher' else 'student'


def network_files(run: RunFolder, network: str) -> tuple[Path, Path]:
    """Return config and checkpoint of a network of a run.

    Args:
        run (RunFolder): A run.
        network (str): ``supervised``, ``student`` or ``teacher``.

    Raises:
        FileNotFoundError: if it has not been trained.
        ValueError: if the run has no such network.
    """
    names = network_names(run)
    if network not in names:
        raise ValueError(
            f'{run.path} has no network {network}; it has {", ".join(names)}'
        )
    stage = run.stages()[
        'supervised' if network == 'supervised' else 'student'
    ]
    try:
        return Path(stage.config), find_checkpoint(stage.makes)
    except FileNotFoundError as e:
        raise FileNotFoundError(
            f'{run.path}: the {network} network is not trained yet; '
            f's4m train --out {run.path} goes on'
        ) from e
