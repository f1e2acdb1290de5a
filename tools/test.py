# SPDX-License-Identifier: Apache-2.0
"""Mask AP of a checkpoint.

    python tools/test.py configs/s4m/s4m_shapes_5p.py \
        work_dirs/s4m_shapes_5p/iter_800.pth --model both
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from mmdet.evaluation import DumpDetResults
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import DictAction
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from s4m.utils.whole_files import write_json
from train import add_launcher, load_config


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='test config file')
    parser.add_argument(
        'checkpoint',
        help="a file, or none: the weights of the config's init_cfg",
    )
    parser.add_argument(
        '--model',
        choices=['teacher', 'student', 'both'],
        help='network of a semi-supervised model '
        '(semi_test_cfg.predict_on, the student, by default)',
    )
    parser.add_argument('--work-dir', help='where the log goes')
    parser.add_argument('--out', help='write the predictions to this .pkl')
    parser.add_argument('--show-dir', help='write painted images here')
    parser.add_argument('--json', type=Path, help='write the metrics here')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    add_launcher(parser)
    return parser.parse_args()


def evaluate(runner: Runner, model: str | None) -> dict[str, dict]:
    """Test one or both networks.

    Args:
        runner (Runner): with a loaded checkpoint.
        model (str, optional): ``teacher``, ``student``, ``both`` or None for
            the config's own choice.

    Returns:
        dict: metrics (fractions) of each network tested.
    """
    net = (
        runner.model.module if is_model_wrapper(runner.model) else runner.model
    )
    if not hasattr(net, 'semi_test_cfg'):
        if model is not None:
            raise SystemExit(
                f'--model {model}: {type(net).__name__} is no '
                'semi-supervised model, it has one network'
            )
        return {'model': runner.test()}
    chosen = net.semi_test_cfg['predict_on']
    names = ['teacher', 'student'] if model == 'both' else [model or chosen]
    results = {}
    for name in names:
        net.semi_test_cfg['predict_on'] = name
        results[name] = runner.test()
    net.semi_test_cfg['predict_on'] = chosen
    return results


def print_table(results: dict[str, dict]) -> None:
    """Metrics x 100, one column a network."""
    names = list(results)
    print('\n' + f'{"x 100":28}' + ''.join(f'{n:>10}' for n in names))
    for key in results[names[0]]:
        values = [100 * results[n][key] for n in names]
        cells = ''.join(
            f'{"n/a" if math.isnan(v) or v < 0 else format(v, ".2f"):>10}'
            for v in values
        )
        print(f'{key:28}{cells}')


def main() -> None:
    """Test."""
    args = parse_args()
    setup_cache_size_limit_of_dynamo()
    untrained = args.checkpoint == 'none'
    if not untrained and not Path(args.checkpoint).is_file():
        raise SystemExit(f'Checkpoint {args.checkpoint} does not exist')
    cfg = load_config(args)
    cfg.load_from = None if untrained else args.checkpoint
    # Evaluation needs the weights of the checkpoint, no others.
    cfg.resume = False
    if args.show_dir:
        cfg.default_hooks.visualization.update(
            draw=True, test_out_dir=os.path.abspath(args.show_dir)
        )
    runner = Runner.from_cfg(cfg)
    if untrained:
        runner._init_model_weights()
    if args.out:
        runner.test_evaluator.metrics.append(DumpDetResults(args.out))
    results = evaluate(runner, args.model)
    if is_main_process():
        print_table(results)
        if args.json:
            write_json(args.json, results, indent=2)


if __name__ == '__main__':
    main()
