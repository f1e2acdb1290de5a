# SPDX-License-Identifier: Apache-2.0
"""Find the files of checkpoints, also of those that this package has.

Every loader of MMEngine reads ``s4m://NAME``: ``load_from``, and
``init_cfg=dict(type='Pretrained', checkpoint='s4m://NAME')`` of a detector or,
with ``prefix='backbone.'``, of its backbone. ``s4m://NAME?queries=20`` has the
first 20 queries only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.runner import CheckpointLoader

#: Weights that this project trained, see its README.md.
ASSETS = Path(__file__).resolve().parents[1] / 'assets'
SCHEME = 's4m://'
_QUERIES = ('query_feat.weight', 'query_embed.weight')


def local_file(path: str | os.PathLike) -> Path:
    """Return the file of a path or of an address.

    Args:
        path: A file, an address ``s4m://NAME`` (:func:`asset_file`), or an
            address ``http(s)://``, which is downloaded once to
            ``torch.hub``'s cache.

    Raises:
        FileNotFoundError: if the file does not exist.
    """
    if str(path).startswith(SCHEME):
        return asset_file(str(path))
    if str(path).startswith(('http://', 'https://')):
        name = Path(urlparse(str(path)).path).name
        file = Path(torch.hub.get_dir()) / 'checkpoints' / name
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(str(path), str(file))
        return file
    file = Path(path).expanduser()
    if not file.is_file():
        what = 'is a folder, not a file' if file.is_dir() else 'does not exist'
        raise FileNotFoundError(f'Checkpoint {file} {what}.')
    return file


def asset_file(address: str) -> Path:
    """Return the file of an address ``s4m://NAME``.

    Args:
        address (str): ``s4m://`` and the name of a ``.pth`` file in the
            package's ``assets``, without the suffix.

    Raises:
        FileNotFoundError: if there is no such file; the message lists the
            names.

    Example:
        >>> asset_file('s4m://vit_nano').name
        'vit_nano.pth'
    """
    files = {f.stem: f for f in sorted(ASSETS.glob('*.pth'))}
    name = address.removeprefix(SCHEME)
    if name not in files:
        raise FileNotFoundError(
            f'This package has no weights {address}; it has '
            f'{", ".join(SCHEME + known for known in files)}.'
        )
    return files[name]


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_asset(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load the weights of an address, for MMEngine's ``CheckpointLoader``.

    Args:
        filename (str): Address as for :func:`asset_file`, and optionally
            ``?queries=NUMBER``, the number of queries to keep.
        map_location: Device or function, as for ``torch.load``. Weights are
            always read to the CPU, and copied into a module from there.

    Returns:
        dict: ``state_dict``, the weights in fp32.

    Raises:
        FileNotFoundError: if the package has no such weights.
        ValueError: if they do not have this many queries.
    """
    # That module finds files with this one.
    from .checkpoints import read_weights

    address, _, option = filename.partition('?')
    weights = {
        k: v.float() if v.is_floating_point() else v
        for k, v in read_weights(address).items()
    }
    if option:
        name, _, number = option.partition('=')
        keys = [key for key in weights if key.endswith(_QUERIES)]
        known = min((len(weights[key]) for key in keys), default=0)
        if name != 'queries' or not number.isdigit() or int(number) > known:
            raise ValueError(
                f'{filename}: expected ?queries=NUMBER with at most {known}'
            )
        weights |= {key: weights[key][: int(number)] for key in keys}
    return dict(state_dict=weights)
