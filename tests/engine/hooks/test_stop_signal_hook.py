# SPDX-License-Identifier: Apache-2.0
"""A signal saves the iteration and ends the training."""

import os
import signal
from types import SimpleNamespace

import pytest
from mmdet.registry import HOOKS
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from s4m.engine.hooks import StopSignalHook


class Saver(CheckpointHook):
    """A checkpoint hook that remembers at which iteration it saved."""

    def __init__(self):
        super().__init__(interval=100, by_epoch=False)
        self.saved = []

    def _save_checkpoint(self, runner):
        self.saved.append(runner.iter + 1)
        self.last_ckpt = f'iter_{runner.iter + 1}.pth'


@pytest.fixture
def run():
    # A worker of pytest-xdist ignores SIGINT.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield from _run()
    signal.signal(signal.SIGINT, ignored)


def _run():
    hook, saver = StopSignalHook(), Saver()
    runner = SimpleNamespace(
        iter=6,
        hooks=[saver, hook],
        logger=MMLogger.get_instance('stop_signal'),
    )
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    hook.before_train(runner)
    yield hook, saver, runner
    hook.after_train(runner)
    assert before == {s: signal.getsignal(s) for s in before}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_iteration_is_finished_and_saved(run, number):
    hook, saver, runner = run
    hook.after_train_iter(runner, 0)
    assert not saver.saved
    os.kill(os.getpid(), number)
    with pytest.raises(SystemExit) as e:
        hook.after_train_iter(runner, 0)
    assert e.value.code == 128 + number and saver.saved == [7]


def test_the_second_signal_ends_at_once(run):
    _, saver, _ = run
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not saver.saved


def test_it_is_in_every_config_and_after_the_checkpoints():
    assert HOOKS.get('StopSignalHook') is StopSignalHook
    assert StopSignalHook().priority == 'LOWEST'
    with pytest.raises(ValueError, match='interval must be >= 1'):
        StopSignalHook(interval=0)
