# SPDX-License-Identifier: Apache-2.0
"""Files from elsewhere, read without running what is in them."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_CONTAINERS = {
    ('collections', 'OrderedDict'),
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    *(
        (f'numpy.{core}.multiarray', name)
        for core in ('core', '_core')
        for name in ('_reconstruct', 'scalar')
    ),
    ('_codecs', 'encode'),  # how protocol 2 stores bytes
}


class ArraysOnly(pickle.Unpickler):
    """An unpickler of numpy arrays in plain containers."""

    def find_class(self, module: str, name: str):
        """Only what arrays and containers need.

        Raises:
            UnpicklingError: for anything else.
        """
        if (module, name) not in _CONTAINERS:
            raise pickle.UnpicklingError(
                f'it wants to use {module}.{name}; only numpy arrays in plain '
                'containers are read'
            )
        return super().find_class(module, name)


def read(path: str | Path) -> tuple[dict, str]:
    """A checkpoint as a dictionary, and its sha256.

    Args:
        path: ``.pkl`` of detectron2's model zoo, or a file of torch.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read, or is no dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    content = path.read_bytes()
    try:
        if path.suffix == '.pkl':
            data = ArraysOnly(io.BytesIO(content), encoding='latin1').load()
        else:
            data = torch.load(
                io.BytesIO(content), map_location='cpu', weights_only=True
            )
    except Exception as e:
        raise ValueError(
            f'{path} cannot be read: it is truncated, of another kind, or '
            f'holds more than tensors ({type(e).__name__}: '
            f'{str(e).splitlines()[0] if str(e) else ""})'
        ) from e
    if not isinstance(data, dict):
        raise ValueError(f'{path} holds a {type(data).__name__}, no weights')
    return data, hashlib.sha256(content).hexdigest()


def tensors(state: dict, path: str | Path) -> dict[str, Tensor]:
    """A state dict's tensors; numpy arrays become tensors.

    Raises:
        ValueError: if an entry is neither.
    """
    out = {}
    for key, value in state.items():
        if isinstance(value, np.ndarray | np.generic):
            value = torch.from_numpy(np.array(value))
        if not isinstance(value, Tensor):
            raise ValueError(
                f'{path}: {key} is a {type(value).__name__}, no tensor'
            )
        out[str(key)] = value
    return out
