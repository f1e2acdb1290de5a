# SPDX-License-Identifier: Apache-2.0
"""Read weights from files, and load them strictly."""

from __future__ import annotations

import os
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.serialization import (
    get_safe_globals,
    get_unsafe_globals_in_checkpoint,
    safe_globals,
)

from .checkpoint_files import local_file


class Unread:
    """Placeholder for an object of a checkpoint whose class is not imported.

    It ignores the arguments and the state of the object. Its attribute
    ``name`` is the full name of the class or function in the file.
    """

    name = ''

    def __init__(self, *args, **kwargs) -> None:
        pass

    def __setstate__(self, state) -> None:
        """Ignore the state."""


def read_checkpoint(path: str | os.PathLike) -> dict:
    """Read a file of ``torch.save`` without running code that it contains.

    Tensors, numbers, strings and plain containers are read. Every other class
    or function that the file names is replaced by :class:`Unread`, so that
    the training state of MMEngine (message hub with ``HistoryBuffer``, numpy
    scalars) does not prevent the weights from being read. MMEngine's loader
    falls back to ``weights_only=False`` where the restricted reader fails;
    this function never does.

    Args:
        path: A file or an address, see
            :func:`s4m.utils.checkpoint_files.local_file`.

    Returns:
        dict: The content of the file, with its tensors on the CPU.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is damaged, calls a function of a blocked
            module (``os``, ``sys``), or does not hold a dictionary.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / 'iter_1.pth'
        >>> torch.save(dict(state_dict=dict(weight=torch.ones(2))), file)
        >>> read_checkpoint(file)
        {'state_dict': {'weight': tensor([1., 1.])}}
    """
    file = local_file(path)
    try:
        placeholders: list[Callable | tuple[Callable, str]] = [
            (type('Unread', (Unread,), dict(name=name)), name)
            for name in _unknown_globals(file)
        ]
        with safe_globals(placeholders):
            checkpoint = torch.load(file, 'cpu', weights_only=True)
    except Exception as e:
        raise ValueError(cannot_read(file, e)) from e
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{file} holds a {type(checkpoint).__name__}, not a dictionary '
            'of weights.'
        )
    return checkpoint


def read_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the state dict of a checkpoint.

    Args:
        path: A file of ``torch.save``, see :func:`read_checkpoint`, or one
            of ``safetensors``.

    Returns:
        dict[str, Tensor]: The file's entry ``state_dict`` or ``model``, or
        the whole content if the file has neither.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file cannot be read, or an entry is not a tensor.
    """
    file = local_file(path)
    if file.suffix == '.safetensors':
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except Exception as e:
            raise ValueError(cannot_read(file, e)) from e
    state = read_checkpoint(file)
    for key in ('state_dict', 'model'):
        if isinstance(state.get(key), dict):
            state = state[key]
            break
    check_tensors(state, file)
    return state


def check_tensors(state: dict, file: str | os.PathLike) -> None:
    """Refuse a state dict with an entry that is not a tensor.

    Args:
        state (dict): Weights by name.
        file: File of the weights, for the message.

    Raises:
        ValueError: if there is such an entry; the message names it.
    """
    for key, value in state.items():
        if not isinstance(value, Tensor):
            kind = getattr(value, 'name', type(value).__name__)
            raise ValueError(
                f'{file} has an entry {key} of the class {kind} among its '
                'weights; only tensors are read. Save the state dict alone.'
            )


def _unknown_globals(file: Path) -> list[str]:
    """List the names that torch's restricted reader would refuse."""
    if zipfile.is_zipfile(file):
        return get_unsafe_globals_in_checkpoint(file)
    names = set()
    with file.open('rb') as f:
        # The format before torch 1.6: magic number, version and a
        # description of the system, each a pickle, precede the object.
        for _ in range(4):
            for opcode, argument, _ in pickletools.genops(f):
                if opcode.name == 'GLOBAL' and argument is not None:
                    module, name = argument.split(' ', 1)
                    # torch maps Python 2's names to Python 3's, too.
                    module = IMPORT_MAPPING.get(module, module)
                    names.add(f'{module}.{name}')
    known = (e for e in get_safe_globals() if not isinstance(e, tuple))
    return sorted(names - {f'{e.__module__}.{e.__qualname__}' for e in known})


def cannot_read(file: Path, error: Exception) -> str:
    """Make the sentence that says why a file cannot be read."""
    lines = str(error).splitlines()
    # torch's first line recommends weights_only=False, which runs code.
    reason = next((s for s in reversed(lines) if 'GLOBAL' in s), '')
    reason = reason.strip() or (lines[0] if lines else '')
    return (
        f'{file} cannot be read: it is truncated, of another kind, or holds '
        f'more than tensors ({type(error).__name__}: {reason}). Download or '
        'save it again; code in a checkpoint is never run.'
    )


def compare_state_dicts(
    expected: dict[str, Tensor],
    state: dict[str, Tensor],
    optional: tuple[str, ...] = (),
) -> tuple[list[str], list[str], list[str]]:
    """Compare the names and shapes of two state dicts.

    Args:
        expected (dict): State dict of the module.
        state (dict): State dict of the file.
        optional (tuple[str]): Prefixes of keys that the file may lack.
            Defaults to none.

    Returns:
        tuple: keys that only the module has, keys that only the file has, and
        keys whose tensors have different shapes.
    """
    absent = [k for k in expected if k not in state]
    missing = [k for k in absent if not k.startswith(optional)]
    unexpected = [k for k in state if k not in expected]
    both = [k for k in expected if k in state]
    shapes = [k for k in both if expected[k].shape != state[k].shape]
    return missing, unexpected, shapes


def load_strictly(
    module: nn.Module,
    state: dict[str, Tensor],
    file: str | os.PathLike,
    *,
    hint: str = '',
    optional: tuple[str, ...] = (),
    ignore_unexpected: bool = False,
) -> None:
    """Load a state dict if all of it fits; otherwise load nothing.

    MMEngine's loader only warns, and leaves random weights where a tensor is
    missing or has another shape.

    Args:
        module (nn.Module): Module that gets the weights.
        state (dict): Weights by the names of ``module.state_dict()``.
        file: File of the weights, for the message.
        hint (str): Sentence that ends the message and says what to do.
            Defaults to none.
        optional (tuple[str]): Prefixes of keys that may be missing. Defaults
            to none.
        ignore_unexpected (bool): Whether keys that the module does not have
            are allowed. Defaults to False.

    Raises:
        ValueError: if keys are missing, unexpected or of another shape; the
            message has their number and the first names.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> load_strictly(layer, {'weight': torch.ones(1, 2)}, 'a.pth')
        ... # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: a.pth does not fit the Linear: 1 missing (bias), ...
    """
    ours = module.state_dict()
    missing, unexpected, differ = compare_state_dicts(ours, state, optional)
    if ignore_unexpected:
        unexpected = []
    shapes = [
        f'{k}: {tuple(state[k].shape)} in the file, '
        f'{tuple(ours[k].shape)} here'
        for k in differ
    ]
    classes = [s for s in shapes if 'cls_embed' in s]
    if classes:
        raise ValueError(
            f'{file} was trained for another number of classes: {classes[0]} '
            '(classes + 1).'
        )
    if missing or unexpected or shapes:
        name = type(module).__name__
        message = (
            f'{file} does not fit the {name}: {_some("missing", missing)}, '
            f'{_some("unexpected", unexpected)}, '
            f'{_some("of another shape", shapes)}. {hint}'
        )
        raise ValueError(message.rstrip())
    module.load_state_dict(state, strict=False)


def _some(what: str, keys: list[str]) -> str:
    shown = ', '.join(keys[:3]) + (', ...' if len(keys) > 3 else '')
    return f'{len(keys)} {what}' + (f' ({shown})' if keys else '')


def find_checkpoint(path: str | os.PathLike) -> Path:
    """Find the checkpoint of a file name or of a work directory.

    Args:
        path: A file, or a work directory, whose best checkpoint
            (``best_*.pth``) is taken, or else its last one. A best one that
            was not written to its end is passed over.

    Raises:
        FileNotFoundError: if there is none; the message says how to train it.
    """
    where = Path(path).expanduser()
    if where.is_file():
        return where
    if where.is_dir():
        best = sorted(
            # The directory of a zip file is its end.
            filter(zipfile.is_zipfile, where.glob('best_*.pth')),
            key=lambda p: p.stat().st_mtime,
        )
        if best:
            return best[-1]
        last = where / 'last_checkpoint'
        if last.is_file() and Path(last.read_text().strip()).is_file():
            return Path(last.read_text().strip())
    name = where.parent.name if where.suffix == '.pth' else where.name
    config = next(Path('configs').rglob(f'{name}.py'), f'CONFIG ({name}.py)')
    raise FileNotFoundError(
        f'No teacher checkpoint at {where}. Train the teacher first: '
        f'tools/dist_train.sh {config} GPUS, or set '
        'model.teacher_checkpoint to a file or a work directory.'
    )


def network_state(checkpoint: dict, name: str) -> dict[str, Tensor]:
    """Return the weights of one network of a checkpoint.

    Args:
        checkpoint (dict): A checkpoint (or state dict) of a detector, or of
            a ``SemiInstanceSegmentor``.
        name (str): ``teacher`` or ``student`` of a ``SemiInstanceSegmentor``.
            For a detector, both names return its only network.
    """
    state = checkpoint.get('state_dict', checkpoint)
    chosen = {
        k.removeprefix(f'{name}.'): v
        for k, v in state.items()
        if k.startswith(f'{name}.')
    }
    return chosen or state


def load_teacher(teacher: nn.Module, path: str | os.PathLike) -> None:
    """Load the weights of a trained teacher strictly.

    Args:
        teacher (nn.Module): Detector that gets the weights.
        path: A file or work directory, see :func:`find_checkpoint`, of such
            a detector or of a ``SemiInstanceSegmentor``, whose student is
            loaded.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the checkpoint cannot be read or does not fit.
    """
    file = find_checkpoint(path)
    state = network_state(read_checkpoint(file), 'student')
    check_tensors(state, file)
    load_strictly(
        teacher,
        state,
        f'Teacher checkpoint {file}',
        hint='Do teacher and student have the same backbone and head?',
    )
    print_log(f'Teacher: weights of {file}', logger='current')
