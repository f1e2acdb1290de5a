# SPDX-License-Identifier: Apache-2.0
"""Rules that every config keeps: names, tables, hooks, batch sizes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT
from leaf_configs import CONFIGS, load
from s4m.apis.config_table import update_tables
from s4m.datasets.coco_io import read_coco


def test_names__are_unique():
    """A config's name is the name of its work directory."""
    names = [p.stem for p in CONFIGS]
    assert len(names) == len(set(names))


def _indexed() -> set[str]:
    """Paths in configs/README.md, with {a,b} written out."""
    text = (ROOT / 'configs/README.md').read_text()
    found = set()
    for path in re.findall(r'`([\w/{},]+\.py)`', text):
        head, brace, rest = path.partition('{')
        choices, _, tail = rest.partition('}')
        parts = choices.split(',') if brace else ['']
        found |= {head + part + tail for part in parts}
    return found


def test_readme__has_the_tables_of_the_files():
    """`python tools/misc/config_table.py` writes them."""
    text = (ROOT / 'configs/README.md').read_text()
    assert update_tables(text, ROOT / 'configs') == text


def test_readme__lists_every_config():
    assert _indexed() == {str(p) for p in CONFIGS}


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_row__has_at_most_five_lines(path: Path):
    """A row of a table says what differs, the rest is in _base_."""
    if path.parts[0] == 'mixing':
        return
    text = (ROOT / 'configs' / path).read_text().splitlines()
    lines = [t for t in text if t and not t.startswith('#')]
    assert len(lines) <= 5


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_hooks__are_keys_of_default_hooks(path: Path):
    """MMEngine merges keys; a list of custom hooks would replace another."""
    cfg = load(path)
    assert 'custom_hooks' not in cfg
    hooks = cfg.default_hooks
    types = [hook.type for hook in hooks.values() if hook is not None]
    assert len(types) == len(set(types))
    assert hooks.random_state.type == 'RandomStateHook'
    semi = cfg.model.type == 'SemiInstanceSegmentor'
    assert ('BurnInMeanTeacherHook' in types) == semi
    assert ('mean_teacher' in hooks) == semi
    assert ('drift_log' in hooks) == semi
    if semi:
        # Both networks are validated, and the student's AP is watched.
        assert hooks.drift_log.type == 'PseudoLabelDriftHook'
        assert cfg.val_cfg.type == 'OnePassTeacherStudentValLoop'
        best = hooks.checkpoint.save_best or hooks.drift_log.monitor
        assert best.startswith('student/')
    # An ablation without the part keeps the hook, which then does nothing.
    if cfg.model.get('refiner') is not None:
        assert hooks.refine_log.type == 'PseudoLabelRefineHook'
    if cfg.model.get('loss_contrast') is not None:
        assert hooks.contrast_log.type == 'ContrastiveDiagnosticsHook'
    # MMEngine refuses None for keys that are not its own.
    assert None not in hooks.values()


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_gpus__make_the_total_batch(path: Path):
    """MMEngine scales the rate by the ratio of the two."""
    cfg = load(path)
    total = cfg.expected_gpus * cfg.train_dataloader.batch_size
    assert total == cfg.auto_scale_lr.base_batch_size
    if 'shapes' in path.stem or 'nuclei' in path.stem:
        assert cfg.expected_gpus == 1  # a machine without a GPU
    elif 'mmdet' not in path.stem:  # its own is 8xb2
        assert cfg.expected_gpus == 4


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_name__says_method_dataset_and_percent(path: Path):
    without_labels = path.stem.startswith('sskd_teacher_zeroshot_')
    if without_labels:
        return
    match = re.fullmatch(
        r'(supervised|guided_distillation|s4m|sskd)_(?:\w+_)?'
        r'(cityscapes|coco|ade20k|shapes|nuclei)_(\d+)p',
        path.stem,
    )
    assert match is not None
    method, dataset, percent = match.groups()
    flat = method == 's4m' and dataset not in ('shapes', 'nuclei')
    folder = '' if flat else method
    assert path.parent.name in (folder, 'mixing')
    cfg = load(path)
    data = cfg.train_dataloader.dataset
    labeled = data.get('labeled', data)
    if percent == '100':
        assert 'semi' not in labeled.ann_file
    elif dataset == 'nuclei':
        labeled_6, train = (
            ROOT / labeled.data_root / 'annotations' / name
            for name in ('labeled_6.json', 'train.json')
        )
        assert labeled_6 == ROOT / labeled.data_root / labeled.ann_file
        share = len(read_coco(labeled_6)['images']) / len(
            read_coco(train)['images']
        )
        assert percent == str(round(100 * share))
    else:
        assert labeled.ann_file.endswith(f'@{percent}.json')
