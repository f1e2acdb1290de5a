# SPDX-License-Identifier: Apache-2.0
"""Find the weights of SAM 2 on this machine."""

from __future__ import annotations

from pathlib import Path

import torch

from .decisions import Wishes
from .facts import DataFacts, Machine
from .known_models import find_model

#: SAM 2's configs, the one to take first first, and SAM 2.1 before SAM 2.
KNOWN = tuple(
    f'{version}_hiera_{size}'
    for size in ('large', 'base_plus', 'small', 'tiny')
    for version in ('sam2.1', 'sam2')
)
NANO = 'nano_sam2'


def places() -> list[Path]:
    """Return the folders in which weights are looked for."""
    return [
        Path('checkpoints'),
        Path.home() / '.cache' / 's4m',
        Path(torch.hub.get_dir()) / 'checkpoints',
    ]


def sam_file(name: str) -> Path | None:
    """Return the file of a SAM 2's weights, or None if it is nowhere.

    Args:
        name (str): Name in :data:`KNOWN`.
    """
    files = (folder / f'{name}.pt' for folder in places())
    return next((file for file in files if file.is_file()), None)


def find_sam(
    wishes: Wishes, facts: DataFacts, machine: Machine
) -> tuple[str | None, str]:
    """Find the SAM 2 of a run.

    Args:
        wishes (Wishes): ``sam`` names it; the file may be named in its place.
        facts (DataFacts): Without unlabelled images none is needed.
        machine (Machine): Without a GPU the nano SAM 2 is taken.

    Returns:
        tuple: name of the config, or None, and file of the weights.

    Raises:
        FileNotFoundError: if a name was given whose file is nowhere.
        ValueError: if the name is unknown.
    """
    if wishes.sam is not None:
        return _named(wishes.sam)
    model = find_model(wishes.model, bool(machine.gpu))
    if not facts.unlabeled or wishes.method not in (None, 's4m'):
        return None, ''
    if model.is_nano:
        return NANO, NANO
    for name in KNOWN:
        if file := sam_file(name):
            return name, str(file.absolute())
    return None, ''


def _named(name: str) -> tuple[str, str]:
    if name == NANO:
        return NANO, NANO
    path = Path(name).expanduser()
    if path.suffix == '.pt':
        if path.stem not in KNOWN:
            raise ValueError(
                f'--sam {name}: a file of SAM 2 has the name of its config, '
                f'{", ".join(KNOWN)}'
            )
        if not path.is_file():
            raise FileNotFoundError(f'--sam {name} does not exist')
        return path.stem, str(path.absolute())
    if name not in KNOWN:
        raise ValueError(
            f'There is no SAM 2 {name}; --sam takes {NANO}, {", ".join(KNOWN)}'
        )
    if file := sam_file(name):
        return name, str(file.absolute())
    looked = ', '.join(str(folder) for folder in places())
    raise FileNotFoundError(
        f'--sam {name}: there is no {name}.pt in {looked}; download it from '
        'https://github.com/facebookresearch/sam2#download-checkpoints'
    )
