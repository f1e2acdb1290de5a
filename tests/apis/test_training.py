# SPDX-License-Identifier: Apache-2.0
"""Options refuse what cannot work, before anything is written."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.hooks import EarlyStoppingHook
from s4m.apis import training
from s4m.apis.config import check_gpus
from s4m.apis.records import STOPPED_EARLY


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    with pytest.raises(ValueError, match='4 GPUs were asked for'):
        check_gpus()
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    check_gpus()


def test_auto_scale_lr__needs_a_batch_size():
    with pytest.raises(ValueError, match=r'no auto_scale_lr\.base_batch'):
        training.set_precision_and_rate(Config(dict()), auto_scale_lr=True)
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=4)))
    training.set_precision_and_rate(cfg, auto_scale_lr=True)
    assert cfg.auto_scale_lr.enable


def test_resume__first_run_keeps_load_from(tmp_path):
    """Stage 3 of SSKD starts from stage 2 although it is always resumed."""
    cfg = Config(dict(work_dir=str(tmp_path), load_from='x.pth', resume=False))
    training.set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'x.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    training.set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, None)
    training.set_resume(cfg, 'iter_1.pth')
    assert (cfg.resume, cfg.load_from) == (True, 'iter_1.pth')


@pytest.mark.parametrize(
    ('processes', 'batch', 'scaled', 'warning'),
    [
        (1, 8, False, '4 x 8 images expected, 1 x 8 here'),
        (4, 8, False, None),
        (1, 32, False, None),  # the same total
        (1, 8, True, None),
    ],
)
def test_batch_size__of_the_row(
    monkeypatch, processes, batch, scaled, warning
):
    monkeypatch.setattr(training, 'get_world_size', lambda: processes)
    cfg = Config(
        dict(
            expected_gpus=4,
            train_dataloader=dict(batch_size=batch),
            auto_scale_lr=dict(base_batch_size=32, enable=scaled),
        )
    )
    lines = []
    logger = SimpleNamespace(warning=lines.append)
    training.warn_of_batch_size(SimpleNamespace(cfg=cfg, logger=logger))
    assert len(lines) == (warning is not None)
    if warning:
        assert warning in lines[0] and '--auto-scale-lr' in lines[0]


def test_sync_batchnorm__is_reverted_on_one_cpu(monkeypatch):
    """As MMDetection's Mask2Former has it in its pixel decoder."""
    if torch.cuda.is_available():
        pytest.skip('a GPU synchronises')
    net = torch.nn.Sequential(torch.nn.SyncBatchNorm(3))
    keys = list(net.state_dict())
    runner = SimpleNamespace(model=net, distributed=False)
    monkeypatch.setattr(
        training.RUNNERS,
        'get',
        lambda _: SimpleNamespace(from_cfg=lambda _: runner),
    )
    model = training.build_runner(Config(dict())).model
    assert not any(
        isinstance(m, torch.nn.SyncBatchNorm) for m in model.modules()
    )
    assert list(model.state_dict()) == keys
    model(torch.rand(2, 3, 4, 4)).sum().backward()


def _documented_stopping() -> tuple[dict, dict]:
    """docs/training.md: of the command line, and of the config."""
    text = (ROOT / 'docs/training.md').read_text()
    options = dict(
        re.findall(r'default_hooks\.early_stopping\.(\w+)=([^\s`]+)', text)
    )
    (code,) = re.findall(r'```python\n(.*?)```', text, re.S)
    config: dict = {}
    exec(code, config)
    return options, config['default_hooks']['early_stopping']


def test_early_stopping__as_documented():
    """Goes on while the AP rises slowly, from an AP of 0, and then ends."""
    options, config = _documented_stopping()
    assert options == {k: str(v) for k, v in config.items()}
    kind, monitor = config.pop('type'), config['monitor']
    assert kind == 'EarlyStoppingHook'
    hook = EarlyStoppingHook(**config)
    loop = SimpleNamespace(stop_training=False)
    runner = SimpleNamespace(
        train_loop=loop, logger=SimpleNamespace(info=lambda text: None)
    )
    scores = [0.0, 0.0, *(0.005 * k for k in range(20))]
    for score in scores:
        hook.after_val_epoch(runner, {monitor: score})
        assert not loop.stop_training
    for _ in range(5):
        assert not loop.stop_training
        hook.after_val_epoch(runner, {monitor: scores[-1] - 0.01})
    assert loop.stop_training


@pytest.mark.parametrize('stopped', [False, True])
def test_early_stopping__leaves_a_note(tmp_path, stopped):
    note = tmp_path / STOPPED_EARLY
    note.write_text('{"iteration": 1}')

    def run():
        assert not note.exists()  # an earlier run's

    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        rank=0,
        iter=3,
        train=run,
        train_loop=SimpleNamespace(stop_training=stopped),
    )
    training.run_training(runner)
    assert note.exists() == stopped
    if stopped:
        assert json.loads(note.read_text()) == dict(iteration=3)


def test_empty_validation_set__is_not_called_the_training_set(
    tmp_path, coco_file
):
    data = dict(images=[], annotations=[], categories=[])
    cfg = dict(
        type='CocoDataset',
        ann_file=coco_file(data, 'val.json'),
        pipeline=[],
        test_mode=True,
    )
    runner = SimpleNamespace(
        work_dir=str(tmp_path), rank=0, train=lambda: DATASETS.build(cfg)
    )
    message = r'The data set .*val\.json has no image'
    with pytest.raises(ValueError, match=message):
        training.run_training(runner)
