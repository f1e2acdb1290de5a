# SPDX-License-Identifier: Apache-2.0
"""Data and models that the tests make themselves."""

from __future__ import annotations

import gc
import json
import os
from functools import cache, partial
from pathlib import Path

# Before torch: more threads than free cores make small models crawl.
os.environ.setdefault('OMP_NUM_THREADS', '1')

# Before torch, too.
from device import simulated_device  # isort: split

import mmengine
import pytest
import s4m  # noqa: F401
import torch
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.registry import init_default_scope

CLASSES = (
    'person',
    'rider',
    'car',
    'truck',
    'bus',
    'train',
    'motorcycle',
    'bicycle',
)
ROOT = Path(__file__).resolve().parents[1]

#: Files that `make test-fast` leaves out, beside the tests that are marked:
#: trainings, processes that import MMDet anew, and all config files.
SLOW = (
    'apis/test_complexity.py',
    'apis/test_nano_pretraining.py',
    'apis/test_own_report_networks.py',
    'apis/test_pipeline.py',
    'apis/test_pseudo_labels.py',
    'apis/test_publish.py',
    'apis/test_splits.py',
    'apis/test_stages.py',
    'apis/test_tables.py',
    'apis/test_tool_processes.py',
    'datasets/test_nuclei.py',
    'device/test_budget.py',
    'device/test_detectors_on_device.py',
    'device/test_gpu_check.py',
    'device/test_own_report_on_device.py',
    'device/test_tools_on_device.py',
    'device/test_trainings_on_device.py',
    'evaluation/test_teacher_quality.py',
    'integration/',
    'models/detectors/test_mixing.py',
    'models/detectors/test_text_prompts.py',
    'models/promptable/',
    'models/test_weighted_pseudo_labels.py',
    'test_config_builds.py',
    'test_configs.py',
    'test_custom_configs.py',
    'test_docs.py',
    'test_doctests.py',
    'test_package.py',
    'test_paper_settings.py',
    'test_published_constants.py',
    'tools/',
)


def pytest_collection_modifyitems(items):
    """Mark the tests of `SLOW` files as slow, and run slow files first.

    The processes of pytest-xdist share the end of the list, where many small
    tests balance better than a few long ones.
    """
    tests = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(tests).as_posix()
        if path.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    paths = list(dict.fromkeys(item.path for item in items))
    paths.sort(key=lambda path: path not in slow)
    # Each of two processes begins with one half of the list.
    order = {path: n for n, path in enumerate(paths[::2] + paths[1::2])}
    items.sort(key=lambda item: order[item.path])


def pytest_collection_finish():
    """Keep the objects of imported modules out of garbage collection.

    MMEngine collects garbage for every dataset that it builds, which takes
    half a second where torch and MMDet are imported.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='module')
def device():
    """A CUDA device for a module's tests: the simulator, or None if real.

    Models of session fixtures must not be used beside it: they would stay on
    the device.
    """
    init_default_scope('mmdet')
    yield from simulated_device.enter_device()


@pytest.fixture(autouse=True, scope='session')
def _unformatted_configs():
    """Write configs as they are: yapf needs 4 seconds for one.

    A runner formats its config three times, which takes longer than the
    training of a small model.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'yapf.yapflib.yapf_api.FormatCode',
            lambda text, **_: (text, False),
        )
        yield


@pytest.fixture(autouse=True, scope='session')
def _metafiles_once():
    """Read MMDetection's 100 metafiles once.

    MMEngine reads all of them for each config with a base in MMDetection,
    which takes two thirds of the time of reading such a config.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.utils.load', cache(mmengine.load))
        yield


@pytest.fixture(autouse=True)
def _environment():
    """MMDet's scope, one thread, and a fixed seed for every test."""
    init_default_scope('mmdet')
    # A singleton that would keep writing to the first test's folder.
    DetLocalVisualizer._instance_dict.clear()
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory) -> Path:
    """Shapes with 12 + 4 small images, converted and split (4 labelled)."""
    from s4m.apis.gpu_check.nano_trainings import make_data

    return make_data(tmp_path_factory.mktemp('data') / 'shapes')


def _use_data(node, root: str) -> None:
    """Point every path of a Shapes config at another folder."""
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and value.startswith('data/shapes/'):
                node[key] = value.replace('data/shapes/', root + '/')
            else:
                _use_data(value, root)
    elif isinstance(node, list | tuple):
        for value in node:
            _use_data(value, root)


def _halve(node) -> None:
    """Halve the sides of the images that a Shapes config trains on."""
    if isinstance(node, list | tuple):
        for value in node:
            _halve(value)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == 'scales':
                node[key] = [tuple(v // 2 for v in size) for size in value]
            elif key == 'crop_size':
                node[key] = tuple(v // 2 for v in value)
            else:
                _halve(value)


def make_shapes_config(
    shapes_root: Path,
    work_dirs: Path,
    name: str,
    iters: int = 4,
    **options,
) -> Config:
    """Return the config of Shapes on the small data, a few iterations."""
    (path,) = (ROOT / 'configs').rglob(f'{name}.py')
    cfg = Config.fromfile(path)
    _use_data(cfg._cfg_dict, str(shapes_root))
    _halve(cfg.train_dataloader)
    cfg.work_dir = str(work_dirs / name)
    cfg.train_cfg.update(max_iters=iters, val_interval=1000)
    cfg.default_hooks.checkpoint.update(interval=iters)
    cfg.default_hooks.logger.interval = 1
    if 'drift_log' in cfg.default_hooks:
        cfg.default_hooks.drift_log.num_images = 2
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'WARNING'
    cfg.merge_from_dict(options)
    return cfg


@pytest.fixture
def shapes_config(shapes_root, tmp_path):
    """Make configs whose runs end in the test's folder."""
    return partial(make_shapes_config, shapes_root, tmp_path)


@pytest.fixture(scope='module')
def shared_config(shapes_root, tmp_path_factory):
    """Make configs of runs that the tests of a module share."""
    init_default_scope('mmdet')
    folder = tmp_path_factory.mktemp('shared')
    return partial(make_shapes_config, shapes_root, folder)


@pytest.fixture(scope='module')
def teacher_file(shared_config, tmp_path_factory):
    """A random teacher's checkpoint."""
    from mmdet.registry import MODELS

    torch.manual_seed(7)
    model = MODELS.build(shared_config('supervised_shapes_5p').model)
    model.init_weights()
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return str(path)


@pytest.fixture
def coco_file(tmp_path):
    """Write a COCO dictionary and return its path."""

    def write(data: dict, name: str = 'ann.json') -> str:
        path = tmp_path / name
        path.write_text(json.dumps(data))
        return str(path)

    return write


@pytest.fixture(scope='session')
def nano_segmenter():
    """The shipped nano SAM 2."""
    from s4m.models import SAM2Segmenter

    return SAM2Segmenter('nano_sam2', 'nano_sam2')


WORDS = ['person', 'rider', 'car', 'truck', 'bus', 'train', '##cycle', 'motor']


@pytest.fixture(scope='session')
def bert(tmp_path_factory) -> str:
    """A BERT of two layers that the test itself writes."""
    transformers = pytest.importorskip('transformers')
    folder = tmp_path_factory.mktemp('bert')
    special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '.', '?']
    (folder / 'vocab.txt').write_text('\n'.join([*special, *WORDS, 'bi']))
    transformers.BertTokenizerFast(str(folder / 'vocab.txt')).save_pretrained(
        folder
    )
    torch.manual_seed(0)
    transformers.BertModel(
        transformers.BertConfig(
            vocab_size=len(special) + len(WORDS) + 1,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
        )
    ).save_pretrained(folder)
    return str(folder)
