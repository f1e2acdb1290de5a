# SPDX-License-Identifier: Apache-2.0
"""One row of the matrix: teacher, then student, then the AP of both.

    tools/run_experiment.sh s4m cityscapes 10 4
    tools/run_experiment.sh guided_distillation coco 5 4 --backbone swin_l
    tools/run_experiment.sh sskd cityscapes 10 4

A stage whose last checkpoint is there, or that early stopping has ended, is
not trained again, one that was stopped is resumed, and a checkpoint that was
tested is not tested again. What a config starts from is what its
``teacher_checkpoint``, ``load_from`` or ``pseudo_labels`` names; a file of
pseudo-labels is made where it is missing, and again where it is of another
teacher or of other options.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from generate_pseudo_labels import keep_or_set_aside
from mmengine.config import Config
from s4m.models.detectors import find_checkpoint
from train import STOPPED_EARLY

ROOT = Path(__file__).resolve().parents[1]

#: Configs of methods whose last stage has a name of its own.
LAST_STAGES = {'sskd': 'sskd_refine'}


def find_config(name: str) -> Path:
    """The config of a name.

    Raises:
        FileNotFoundError: with names that are near.
    """
    configs = {
        p.stem: p
        for p in sorted((ROOT / 'configs').rglob('*.py'))
        if '_base_' not in p.parts
    }
    if name not in configs:
        start = name.rsplit('_', 1)[0]
        near = [n for n in configs if n.startswith(start)]
        near = near or [n for n in configs if n.startswith(name.split('_')[0])]
        raise FileNotFoundError(
            f'There is no config {name}.py; there are '
            f'{", ".join(near) or "those of configs/README.md"}.'
        )
    return configs[name]


def stages(name: str) -> list[Path]:
    """Configs in the order in which they train; the last is ``name``."""
    config = find_config(name)
    cfg = Config.fromfile(config)
    before = cfg.model.get('teacher_checkpoint')
    if 'pseudo_labels' in cfg:
        before = cfg.pseudo_labels.teacher
    elif starts_from_stage(cfg):
        before = str(Path(cfg.load_from).parent)
    return [*([] if before is None else stages(Path(before).name)), config]


def starts_from_stage(cfg: Config) -> bool:
    """Whether ``load_from`` is another stage's, not a file from elsewhere."""
    return str(cfg.get('load_from')).startswith('work_dirs/')


def call(command: list[str]) -> None:
    """Run a command in the project's folder, or stop with its status."""
    print('+ ' + ' '.join(command), flush=True)
    status = subprocess.call(command, cwd=ROOT)
    if status:
        raise SystemExit(status)


def train(config: Path, args: argparse.Namespace) -> Path:
    """Train a stage unless it is done: to the end, or stopped early.

    Returns:
        Path: its work directory.
    """
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(dict(o.split('=', 1) for o in args.cfg_options))
    work_dir = ROOT / 'work_dirs' / config.stem
    last = work_dir / f'iter_{cfg.train_cfg.max_iters}.pth'
    if last.is_file():
        print(f'{config.stem}: trained ({last.relative_to(ROOT)})')
        return work_dir
    stopped = work_dir / STOPPED_EARLY
    if stopped.is_file():
        iteration = json.loads(stopped.read_text())['iteration']
        print(
            f'{config.stem}: trained until early stopping at iteration '
            f'{iteration}; tools/train.py --resume would go on'
        )
        return work_dir
    options = ['--resume', '--work-dir', str(work_dir)]
    if 'pseudo_labels' in cfg:
        generate(cfg, args)
    if starts_from_stage(cfg) and not (ROOT / cfg.load_from).is_file():
        # The stage before was trained for other iterations.
        before = find_checkpoint(str((ROOT / cfg.load_from).parent))
        args = argparse.Namespace(**vars(args))
        args.cfg_options = [*args.cfg_options, f'load_from={before}']
    if args.amp is not None:
        options += ['--amp', args.amp]
    if args.auto_scale_lr:
        options.append('--auto-scale-lr')
    call(launch('train', [str(config)], options, args))
    return work_dir


def generate(cfg: Config, args: argparse.Namespace) -> None:
    """Make the pseudo-labels that a config trains on.

    A file of the same teacher and the same options is used as it is.
    """
    target = ROOT / cfg.train_dataloader.dataset.unlabeled.ann_file
    wanted = cfg.pseudo_labels
    teacher = find_config(Path(wanted.teacher).name)
    checkpoint = find_checkpoint(str(ROOT / wanted.teacher))
    options = ['--images', wanted.images, '--image-root', wanted.image_root]
    options += [*wanted.options, '--out', str(target)]
    where = [str(teacher), str(checkpoint)]
    try:
        command = [*where, *with_cfg_options(options, args)]
        if keep_or_set_aside(target, command, ROOT):
            print(f'pseudo-labels: made ({target.relative_to(ROOT)})')
            return
    except ValueError as e:
        raise SystemExit(str(e)) from e
    call(launch('generate_pseudo_labels', where, options, args))


def test(config: Path, work_dir: Path, args: argparse.Namespace) -> dict:
    """Metrics of a stage's best checkpoint, else its last, kept in a file."""
    checkpoint = find_checkpoint(str(work_dir))
    target = work_dir / f'test_{checkpoint.stem}.json'
    if not target.is_file():
        options = ['--json', str(target), '--work-dir', str(work_dir)]
        if Config.fromfile(config).model.type == 'SemiInstanceSegmentor':
            options += ['--model', 'both']
        where = [str(config), str(checkpoint)]
        call(launch('test', where, options, args))
    return json.loads(target.read_text())


def with_cfg_options(
    options: list[str], args: argparse.Namespace
) -> list[str]:
    """Options of a tool with those of the config that are for all stages."""
    if not args.cfg_options:
        return options
    return [*options, '--cfg-options', *args.cfg_options]


def launch(
    tool: str, what: list[str], options: list[str], args: argparse.Namespace
) -> list[str]:
    """Command of tools/train.py or test.py on one or several GPUs."""
    options = with_cfg_options(options, args)
    if args.gpus > 1:
        script = f'tools/dist_{tool}.sh'
        return ['bash', script, *what, str(args.gpus), *options]
    return [sys.executable, f'tools/{tool}.py', *what, *options]


def table(results: dict[str, dict]) -> str:
    """Metrics x 100, a row a network."""
    rows = {
        f'{stage} ({network})' if network != 'model' else stage: metrics
        for stage, networks in results.items()
        for network, metrics in networks.items()
    }
    ends = ('mAP', '@50', 'mAP_50')
    names = [k for k in next(iter(rows.values())) if k.endswith(ends)]
    width = max(map(len, rows)) + 2
    lines = [f'{"x 100":{width}}' + ''.join(f'{n:>20}' for n in names)]
    for row, metrics in rows.items():
        cells = (f'{100 * metrics[n]:>20.2f}' for n in names)
        lines.append(f'{row:{width}}' + ''.join(cells))
    return '\n'.join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('method', help='s4m, guided_distillation ...')
    parser.add_argument('dataset', help='cityscapes, coco, shapes ...')
    parser.add_argument('percent', type=int)
    parser.add_argument('gpus', type=int)
    parser.add_argument('--backbone', help='of the name, if not R50')
    parser.add_argument('--amp', nargs='?', const='bf16')
    parser.add_argument('--auto-scale-lr', action='store_true')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], help='for all stages'
    )
    args = parser.parse_args()
    method = LAST_STAGES.get(args.method, args.method)
    parts = [method, args.backbone, args.dataset, f'{args.percent}p']
    results = {}
    try:
        for config in stages('_'.join(p for p in parts if p)):
            work_dir = train(config, args)
            results[config.stem] = test(config, work_dir, args)
    except FileNotFoundError as e:
        raise SystemExit(str(e)) from e
    print('\n' + table(results))


if __name__ == '__main__':
    main()
