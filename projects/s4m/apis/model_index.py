# SPDX-License-Identifier: Apache-2.0
"""Write the metafile of the configs, which MIM and MMEngine read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.fileio import dump, load

from s4m.utils.whole_files import write_whole

from .config import find_config, list_configs, resource_dir

_DATASETS = {
    'ade20k': 'ADE20K',
    'cityscapes': 'Cityscapes',
    'coco': 'COCO',
    'custom': 'Custom',
    'nuclei': 'Nuclei',
    'shapes': 'Shapes',
}
_PAPERS = {
    's4m': (
        'S4M',
        'S4M: Boosting Semi-Supervised Instance Segmentation with SAM',
        'https://arxiv.org/abs/2504.05301',
    ),
    'guided_distillation': (
        'Guided Distillation',
        'Guided Distillation for Semi-Supervised Instance Segmentation',
        'https://arxiv.org/abs/2308.02668',
    ),
    'sskd': (
        'SSKD',
        'Training a Student Expert via Semi-Supervised Foundation Model '
        'Distillation',
        'https://arxiv.org/abs/2604.03841',
    ),
}


def make_metafile() -> dict[str, Any]:
    """Describe all configs in MIM's format.

    Returns:
        dict: ``Collections`` and ``Models``. ``mask AP`` is the number that
        the paper prints (``configs/published_ap.yml``); this project
        publishes no weights.
    """
    configs = resource_dir() / 'configs'
    published = load(str(configs / 'published_ap.yml'))
    models = []
    for name in list_configs():
        path = find_config(name).relative_to(configs)
        result: dict[str, Any] = dict(
            Task='Instance Segmentation', Dataset=_dataset(name)
        )
        if name in published:
            result['Metrics'] = {'mask AP': published[name]}
        model = {
            'Name': name,
            'Config': f'configs/{path.as_posix()}',
            'Results': [result],
        }
        for prefix, (collection, *_) in _PAPERS.items():
            if name.startswith(f'{prefix}_'):
                model['In Collection'] = collection
        models.append(model)
    collections = [
        dict(Name=name, Paper=dict(Title=title, URL=url))
        for name, title, url in _PAPERS.values()
    ]
    return dict(Collections=collections, Models=models)


def write_metafile() -> Path:
    """Write ``configs/metafile.yml``.

    Returns:
        Path: the file.
    """
    target = resource_dir() / 'configs' / 'metafile.yml'
    with write_whole(target) as partial:
        partial.write_text(
            '# Made by tools/misc/model_index.py.\n'
            + dump(make_metafile(), file_format='yml', sort_keys=False)
        )
    return target


def _dataset(name: str) -> str:
    """Return the data set of a config's name."""
    return next(v for k, v in _DATASETS.items() if f'_{k}' in name)
