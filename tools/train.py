# SPDX-License-Identifier: Apache-2.0
"""Train a model; MMDetection's command line.

python tools/train.py configs/s4m/s4m_shapes_5p.py
tools/dist_train.sh configs/s4m_cityscapes_10p.py 4
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint
from s4m.engine import setup_cpu_distributed
from s4m.utils.whole_files import write_json

#: File in the work directory of a run that ``EarlyStoppingHook`` ended.
STOPPED_EARLY = 'stopped_early.json'


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='train config file')
    parser.add_argument('--work-dir', help='where logs and models go')
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bf16',
        choices=['bf16', 'fp16'],
        help='automatic mixed precision (bf16 if no type is given)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='a checkpoint, or nothing for the latest in the work directory',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value ...',
    )
    add_launcher(parser)
    return parser.parse_args()


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """The options that MMDetection's launch scripts pass."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """The config with the options that training and testing share."""
    if not Path(args.config).is_file():
        raise SystemExit(f'Config {args.config} does not exist')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    check_gpus()
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    setup_cpu_distributed(cfg)
    return cfg


def check_gpus() -> None:
    """Fail early when a process has no GPU of its own."""
    wanted = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    found = torch.cuda.device_count()
    if 0 < found < wanted:
        raise SystemExit(
            f'{wanted} GPUs were asked for, this machine has {found}'
        )


def set_amp(cfg: Config, dtype: str) -> None:
    """Switch the optimizer wrapper to mixed precision."""
    if not torch.cuda.is_available():
        raise SystemExit('--amp needs a GPU')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    if dtype == 'bf16':
        # The exponent of fp32: nothing to scale.
        cfg.optim_wrapper.update(dtype='bfloat16', loss_scale=1.0)
    else:
        cfg.optim_wrapper.update(dtype='float16', loss_scale='dynamic')


def set_resume(cfg: Config, checkpoint: str) -> None:
    """Go on from a checkpoint, or from the latest one (``auto``).

    Where ``auto`` finds none the run begins: with the weights that the
    config's own ``load_from`` names.
    """
    if checkpoint != 'auto':
        cfg.resume, cfg.load_from = True, checkpoint
    elif find_latest_checkpoint(cfg.work_dir) is not None:
        cfg.resume, cfg.load_from = True, None


def run_training(runner: Runner) -> None:
    """Train, and write down whether early stopping has ended it.

    MMEngine records it nowhere, and a run that ended has no checkpoint of
    the last iteration: tools/run_experiment.py would resume it.
    """
    note = Path(runner.work_dir) / STOPPED_EARLY
    if runner.rank == 0:
        note.unlink(missing_ok=True)
    runner.train()
    stopped = getattr(runner.train_loop, 'stop_training', False)
    if runner.rank == 0 and stopped:
        write_json(note, dict(iteration=runner.iter))


def main() -> None:
    """Train."""
    args = parse_args()
    setup_cache_size_limit_of_dynamo()
    cfg = load_config(args)
    if args.amp:
        set_amp(cfg, args.amp)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise SystemExit(
                f'{args.config} has no auto_scale_lr.base_batch_size'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        set_resume(cfg, args.resume)
    runner_type = RUNNERS.get(cfg.get('runner_type', 'Runner')) or Runner
    run_training(runner_type.from_cfg(cfg))


if __name__ == '__main__':
    main()
