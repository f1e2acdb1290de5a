# SPDX-License-Identifier: Apache-2.0
"""Test checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet.evaluation import DumpDetResults
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from s4m.datasets.coco_checks import empty_sets_named
from s4m.utils.model_wrappers import unwrapped_model
from s4m.utils.whole_files import write_json

from .config import load_config
from .training import build_runner

Metrics = dict[str, float]


def test(
    config: str | Path,
    checkpoint: str | Path | None,
    *,
    model: str | None = None,
    work_dir: str | Path | None = None,
    split: str | None = None,
    out: str | Path | None = None,
    show_dir: str | Path | None = None,
    json: str | Path | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    launcher: str = 'none',
) -> dict[str, Metrics]:
    """Test a checkpoint on the test set of a config.

    Args:
        config (str | Path): Config by path or by name.
        checkpoint (str | Path, optional): File of the weights; None takes
            the weights that the config's ``init_cfg`` entries name.
        model (str, optional): Network of a semi-supervised model:
            ``teacher``, ``student`` or ``both``. Defaults to the
            ``semi_test_cfg.predict_on`` of the config, the student.
        work_dir (str | Path, optional): Folder of the log. Defaults to the
            folder of :func:`s4m.apis.config.load_config`.
        split (str, optional): Name of the split of the training, which only
            changes the default of ``work_dir``. Defaults to None.
        out (str | Path, optional): File ``.pkl`` that gets the predictions.
            Defaults to None.
        show_dir (str | Path, optional): Folder that gets painted images.
            Defaults to None.
        json (str | Path, optional): File that gets the metrics. Defaults to
            None.
        cfg_options (Mapping, optional): Values of the config that are
            replaced, by dotted key. Defaults to None.
        launcher (str): Launcher of a distributed run: ``pytorch``, ``slurm``,
            ``mpi`` or ``none``. Defaults to ``none``.

    Returns:
        dict[str, dict[str, float]]: metrics (fractions) of each network that
        was tested: ``teacher``, ``student``, or ``model`` where there is
        only one.

    Raises:
        FileNotFoundError: if the config or the checkpoint does not exist.
        ValueError: if ``model`` is given and there is only one network.
    """
    setup_cache_size_limit_of_dynamo()
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise FileNotFoundError(f'Checkpoint {checkpoint} does not exist')
    cfg = load_config(
        config,
        work_dir=work_dir,
        split=split,
        launcher=launcher,
        cfg_options=cfg_options,
    )
    cfg.load_from = None if checkpoint is None else str(checkpoint)
    # Only the weights of the checkpoint are needed, not its training state.
    cfg.resume = False
    if show_dir is not None:
        cfg.default_hooks.visualization.update(
            draw=True, test_out_dir=os.path.abspath(show_dir)
        )
    runner = build_runner(cfg)
    if checkpoint is None:
        runner._init_model_weights()
    if out is not None:
        runner.test_evaluator.metrics.append(DumpDetResults(str(out)))
    results = evaluate(runner, model)
    if json is not None and is_main_process():
        write_json(json, results, indent=2)
    return results


def evaluate(runner: Runner, model: str | None = None) -> dict[str, Metrics]:
    """Test one or both networks of a runner's model.

    Args:
        runner (Runner): Runner whose test loads the checkpoint.
        model (str, optional): ``teacher``, ``student`` or ``both``. Defaults
            to None, the config's ``semi_test_cfg.predict_on``.

    Returns:
        dict[str, dict[str, float]]: metrics (fractions) of each network. An
        AP that MMDetection's ``CocoMetric`` leaves out, since a network
        predicts nothing, is 0 where another network has it.

    Raises:
        ValueError: if ``model`` is given and there is only one network.
    """
    net = unwrapped_model(runner)
    if not hasattr(net, 'semi_test_cfg'):
        if model is not None:
            raise ValueError(
                f'--model {model}: {type(net).__name__} is not a '
                'semi-supervised model, it has one network'
            )
        with empty_sets_named('test'):
            return {'model': runner.test()}
    chosen = net.semi_test_cfg['predict_on']
    names = ['teacher', 'student'] if model == 'both' else [model or chosen]
    results = {}
    for name in names:
        net.semi_test_cfg['predict_on'] = name
        with empty_sets_named('test'):
            results[name] = dict(runner.test())
    net.semi_test_cfg['predict_on'] = chosen
    return with_all_metrics(results)


def with_all_metrics(results: dict[str, Metrics]) -> dict[str, Metrics]:
    """Give each network the metrics of all; a missing metric becomes 0.

    Example:
        >>> with_all_metrics({'teacher': {'AP': 0.5}, 'student': {}})
        {'teacher': {'AP': 0.5}, 'student': {'AP': 0.0}}
    """
    names = dict.fromkeys(n for metrics in results.values() for n in metrics)
    return {
        network: {n: metrics.get(n, 0.0) for n in names}
        for network, metrics in results.items()
    }


def format_metrics(results: dict[str, Metrics]) -> str:
    """Format metrics x 100 with a column for each network."""
    results = with_all_metrics(results)
    lines = [f'{"x 100":28}' + ''.join(f'{n:>10}' for n in results)]
    for key in next(iter(results.values())):
        values = [100 * metrics[key] for metrics in results.values()]
        cells = ''.join(
            f'{"n/a" if math.isnan(v) or v < 0 else format(v, ".2f"):>10}'
            for v in values
        )
        lines.append(f'{key:28}{cells}')
    return '\n'.join(lines)
