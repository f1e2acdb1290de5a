# SPDX-License-Identifier: Apache-2.0
"""Train one config."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from s4m.datasets.coco_checks import empty_sets_named
from s4m.utils.compatibility import format_configs_once
from s4m.utils.whole_files import write_json

from .config import load_config
from .memory import describe_memory, memory_advice
from .precision import (
    describe_precision,
    precision_of,
    set_precision,
    tf32_in_fp32,
)
from .records import STOPPED_EARLY, add_seconds, read_record, write_record
from .splits import check_split


def train(
    config: str | Path,
    *,
    work_dir: str | Path | None = None,
    split: str | None = None,
    amp: str | None = None,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    launcher: str = 'none',
) -> Runner:
    """Train a config.

    Args:
        config (str | Path): Config by path or by name.
        work_dir (str | Path, optional): Folder of logs and checkpoints.
            Defaults to the folder of :func:`s4m.apis.config.load_config`.
        split (str, optional): Name of another split of labelled and
            unlabelled images, for instance ``seed0@10``. Results of previous
            stages are then read from ``work_dirs/SPLIT``. Defaults to None.
        amp (str, optional): Precision: ``bf16`` or ``fp16`` (autocast) or
            ``off``, which is fp32. Defaults to None, which takes that of the
            config or :func:`s4m.apis.precision.default_precision`.
        auto_scale_lr (bool): Whether the learning rate is scaled with the
            total batch size. Defaults to False.
        resume (str, optional): Checkpoint to resume from. ``auto`` takes the
            latest one of the work directory, or begins if there is none.
            Defaults to None, which begins.
        cfg_options (Mapping, optional): Values of the config that are
            replaced, by dotted key. Defaults to None.
        launcher (str): Launcher of a distributed run: ``pytorch``, ``slurm``,
            ``mpi`` or ``none``. Defaults to ``none``.

    Returns:
        Runner: the runner after the training.

    Raises:
        FileNotFoundError: if the config, its split or a checkpoint that it
            starts from is missing.
        ValueError: if an option does not fit the config or the machine.
        OutOfMemory: if the GPU has too little memory; it says what to lower.

    Example::

        train('supervised_shapes_5p', cfg_options={'train_cfg.max_iters': 9})
    """
    setup_cache_size_limit_of_dynamo()
    cfg = load_config(
        config,
        work_dir=work_dir,
        split=split,
        launcher=launcher,
        cfg_options=cfg_options,
    )
    if split is not None:
        check_split(cfg)
    set_precision_and_rate(cfg, amp, auto_scale_lr)
    if resume is not None:
        set_resume(cfg, resume)
    runner = build_runner(cfg)
    runner.logger.info(describe_precision(cfg))
    if line := describe_memory(cfg):
        runner.logger.info(line)
    warn_of_batch_size(runner)
    resumed = bool(cfg.get('resume'))
    if resumed:
        warn_of_precision(runner)
    if runner.rank == 0:
        write_record(cfg, resumed=resumed)
    with tf32_in_fp32(cfg), memory_advice(cfg):
        run_training(runner)
    return runner


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config.

    Without a GPU, synchronised batch normalisation becomes an ordinary one:
    PyTorch's does not run on a CPU, and on one device both compute the same.
    In a distributed run :class:`CPUDistributedDataParallel` replaces it
    before it wraps the model.
    """
    format_configs_once()
    runner_type = RUNNERS.get(cfg.get('runner_type', 'Runner')) or Runner
    runner = runner_type.from_cfg(cfg)
    if not torch.cuda.is_available() and not runner.distributed:
        runner.model = revert_sync_batchnorm(runner.model)
    return runner


def set_precision_and_rate(
    cfg: Config, amp: str | None = None, auto_scale_lr: bool = False
) -> None:
    """Set the precision and the scaling of the learning rate.

    Args:
        cfg (Config): Config, changed in place.
        amp (str, optional): Precision, see
            :func:`s4m.apis.precision.set_precision`. Defaults to None.
        auto_scale_lr (bool): Whether the rate is scaled with the batch size.
            Defaults to False.

    Raises:
        ValueError: if the machine lacks the precision, or the config does not
            name the batch size of its learning rate.
    """
    set_precision(cfg, amp)
    if auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError(
                f'{cfg.filename} has no auto_scale_lr.base_batch_size'
            )
        cfg.auto_scale_lr.enable = True


def set_resume(cfg: Config, checkpoint: str) -> None:
    """Resume from a checkpoint, or from the latest one (``auto``).

    Without a checkpoint, ``auto`` begins with the weights of the config's
    ``load_from``.
    """
    if checkpoint != 'auto':
        cfg.resume, cfg.load_from = True, checkpoint
    elif find_latest_checkpoint(cfg.work_dir) is not None:
        cfg.resume, cfg.load_from = True, None


def warn_of_batch_size(runner: Runner) -> None:
    """Warn if an iteration has another number of images than the config's.

    A config names the number of GPUs that it is made for (``expected_gpus``)
    and the total batch size of its learning rate (``auto_scale_lr``).
    """
    cfg = runner.cfg
    expected, scaling = cfg.get('expected_gpus'), cfg.get('auto_scale_lr', {})
    if expected is None or scaling.get('enable', False):
        return
    processes, batch = get_world_size(), cfg.train_dataloader.batch_size
    total = scaling.get('base_batch_size', expected * batch)
    if processes * batch != total:
        runner.logger.warning(
            f'{expected} x {total / expected:g} images expected, '
            f'{processes} x {batch} here: the learning rate and the schedule '
            "are the paper's; --auto-scale-lr scales the rate with the batch "
            'size, train_cfg.max_iters is yours to set.'
        )


def warn_of_precision(runner: Runner) -> None:
    """Warn if a resumed run began in another precision.

    The default of another machine may differ; the run goes on, but not as it
    would have without the interruption.
    """
    record = read_record(runner.work_dir)
    if record is None:
        return
    before = precision_of(record['config'].get('optim_wrapper', {}))
    now = precision_of(runner.cfg.optim_wrapper)
    if before != now:
        runner.logger.warning(
            f'This run began with --amp {before} and goes on with --amp '
            f'{now}; name --amp {before} to go on as before.'
        )


def run_training(runner: Runner) -> None:
    """Train, and record whether early stopping ended the training.

    MMEngine does not record it, and a run that ended early has no checkpoint
    of the last iteration: :func:`s4m.apis.pipeline.run_stages` would resume
    the run.
    """
    note = Path(runner.work_dir) / STOPPED_EARLY
    if runner.rank == 0:
        note.unlink(missing_ok=True)
    began = time.monotonic()
    # The training set or the validation set.
    try:
        with empty_sets_named():
            runner.train()
    finally:
        if runner.rank == 0:
            add_seconds(runner.work_dir, time.monotonic() - began)
    if runner.rank == 0 and getattr(runner.train_loop, 'stop_training', False):
        write_json(note, dict(iteration=runner.iter))
