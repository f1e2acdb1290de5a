# SPDX-License-Identifier: Apache-2.0
"""Say what this machine has, and what is there to choose from."""

from __future__ import annotations

import ast
import importlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

from s4m.apis.config import find_config, list_configs
from s4m.apis.config_table import config_comment

from .facts import this_machine
from .known_models import MODELS
from .sam_files import KNOWN, NANO, sam_file


@dataclass(frozen=True)
class Check:
    """One thing that a training needs or could use.

    Attributes:
        name (str): What was looked for.
        ok (bool): Whether it is there.
        found (str): What was found.
        advice (str): What to do; empty if nothing.
        needed (bool): Whether nothing runs without it.
    """

    name: str
    ok: bool
    found: str
    advice: str = ''
    needed: bool = True


#: Packages that everything needs, by the names of their distributions.
_PACKAGES = {
    'torch': ('torch',),
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'sam2': ('sam2',),
    'pycocotools': ('pycocotools',),
}
#: Packages of which a part makes use.
_OPTIONAL = {
    'faster_coco_eval': 'a faster mask AP: pip install faster-coco-eval',
    'tensorboard': 'curves in TensorBoard: pip install tensorboard',
}


def doctor() -> list[Check]:
    """Check this machine.

    Returns:
        list[Check]: results, the machine first.

    Example:
        >>> [check.name for check in doctor()][:2]
        ['python', 'GPU']
    """
    machine = this_machine()
    gpu = 'none: the nano networks train on the CPU'
    if machine.gpu:
        gpu = (
            f'{machine.gpus} x {machine.gpu}, {machine.gpu_gib:.0f} GiB, '
            f'--amp {machine.precision}'
        )
    checks = [
        Check('python', True, platform.python_version()),
        Check('GPU', bool(machine.gpu), gpu, needed=False),
        Check('CPU', True, f'{machine.cores} cores'),
    ]
    for name, distributions in _PACKAGES.items():
        found = next(filter(None, map(_version, distributions)), '')
        advice = '' if found else 'README, "Installation"'
        checks.append(Check(name, bool(found), found or 'missing', advice))
    checks.append(_mmcv_operators())
    for name, what in _OPTIONAL.items():
        there = find_spec(name) is not None
        text = _version(name.replace('_', '-')) if there else 'missing'
        checks.append(
            Check(name, there, text, '' if there else what, needed=False)
        )
    checks.append(_sam())
    checks += [_coco_weights()]
    return checks


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ''


def _mmcv_operators() -> Check:
    """Run one compiled operator, on the GPU if there is one."""
    name = "mmcv's operators"
    try:
        nms = importlib.import_module('mmcv.ops').nms
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9]], device=device)
        scores = torch.tensor([0.9, 0.8], device=device)
        kept = nms(boxes, scores, 0.5)[1]
    except Exception as e:  # whatever a library that does not fit raises
        line = next(iter(str(e).splitlines()), type(e).__name__)
        return Check(
            name,
            False,
            line[:100],
            'compile mmcv for this PyTorch: README, "Installation"',
        )
    return Check(name, len(kept) == 1, f'work on the {device}')


def _sam() -> Check:
    file = next(filter(None, map(sam_file, KNOWN)), None)
    if file is not None:
        return Check('SAM 2', True, str(file), needed=False)
    return Check(
        'SAM 2',
        False,
        f'no weights but {NANO} (for a CPU)',
        'S4M wants one, such as checkpoints/sam2.1_hiera_large.pt, from '
        'https://github.com/facebookresearch/sam2#download-checkpoints',
        needed=False,
    )


def _coco_weights() -> Check:
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    stems = {Path(m.coco).name: m.name for m in MODELS.values() if m.coco}
    there = [
        name
        for stem, name in stems.items()
        if any(folder.glob(f'{stem}_20*.pth'))
    ]
    text = ', '.join(there) or 'none downloaded yet'
    return Check('COCO weights', bool(there), text, needed=False)


def list_all(kind: str) -> list[tuple[str, str]]:
    """List what a command or a config can name.

    Args:
        kind (str): ``methods``, ``models``, ``segmenters`` or ``configs``.

    Returns:
        list[tuple[str, str]]: names with a line each.

    Raises:
        ValueError: if there is no such kind.

    Example:
        >>> list_all('methods')[0][0]
        'supervised'
    """
    lists: dict[str, Callable[[], list[tuple[str, str]]]] = dict(
        methods=_methods,
        models=lambda: [(m.name, m.about) for m in MODELS.values()],
        segmenters=_segmenters,
        configs=_configs,
    )
    if kind not in lists:
        raise ValueError(f'There are {", ".join(lists)} to list, not {kind}')
    return lists[kind]()


def _methods() -> list[tuple[str, str]]:
    return [
        ('supervised', 'labelled images only: the baseline'),
        (
            'guided_distillation',
            'a teacher labels the other images, the student learns from both',
        ),
        ('s4m', 'the same, and SAM 2 refines the labels'),
        ('sskd', 'SSKD, for the data sets of its paper: s4m list configs'),
    ]


def _segmenters() -> list[tuple[str, str]]:
    rows = [(NANO, 'in the package, for a CPU')]
    for name in KNOWN:
        file = sam_file(name)
        where = 'no weights found' if file is None else str(file.parent)
        rows.append((name, where))
    return rows


def _configs() -> list[tuple[str, str]]:
    """Return the configs with the comment that each begins with."""
    rows = []
    for name in list_configs():
        file = find_config(name)
        about = config_comment(file) or _first_base(file.read_text())
        rows.append((name, about))
    return rows


def _first_base(text: str) -> str:
    """Return the first base of a config without a comment."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':  # type: ignore[attr-defined]
            value = ast.literal_eval(node.value)
            first = value if isinstance(value, str) else value[0]
            return Path(first).stem
    return ''
