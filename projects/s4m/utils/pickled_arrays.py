# SPDX-License-Identifier: Apache-2.0
"""Read numpy arrays that detectron2 has pickled."""

from __future__ import annotations

import io
import os
import pickle

import numpy as np
import torch

from .checkpoint_files import local_file
from .checkpoints import cannot_read

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


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays in plain containers."""

    def find_class(self, module: str, name: str):
        """Refuse classes and functions that arrays do not need."""
        if (module, name) not in _CONTAINERS:
            raise pickle.UnpicklingError(
                f'it wants to use {module}.{name}; only numpy arrays in plain '
                'containers are read'
            )
        return super().find_class(module, name)


def read_arrays(path: str | os.PathLike) -> dict:
    """Read a ``.pkl`` of detectron2's model zoo; its arrays become tensors.

    Args:
        path: A pickle (not of ``torch.save``) of numpy arrays.

    Returns:
        dict: The content of the file. Arrays in its entry ``model``, or in
        the whole content without this entry, are tensors.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is damaged, names another class or function,
            or does not hold a dictionary.
    """
    file = local_file(path)
    try:
        content = io.BytesIO(file.read_bytes())
        data = _ArraysOnly(content, encoding='latin1').load()
    except Exception as e:
        raise ValueError(cannot_read(file, e)) from e
    if not isinstance(data, dict):
        raise ValueError(
            f'{file} holds a {type(data).__name__}, not a dictionary of '
            'weights.'
        )
    state = data['model'] if isinstance(data.get('model'), dict) else data
    for key, value in state.items():
        if isinstance(value, np.ndarray | np.generic):
            state[key] = torch.from_numpy(np.array(value))
    return data
