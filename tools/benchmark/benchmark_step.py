# SPDX-License-Identifier: Apache-2.0
"""Where a training step spends its time, and what the batching saves.

    python tools/benchmark/benchmark_step.py configs/shapes/s4m_shapes_5p.py
    python tools/benchmark/benchmark_step.py --compare pr sd arp ema \
        --segmenter sam2.1_hiera_tiny --size 512x1024

The first form trains a config for some iterations and prints, per phase, the
median milliseconds, the share of the step, and the peak memory. ``--compare``
times a part against its naive version, and against the bare calls that it
cannot avoid, in one process: the ratios are what counts, machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tools' / 'dataset_converters'))
from make_shapes import parse_size  # noqa: E402


def now() -> float:
    """Seconds, after everything that was launched."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory_mib() -> float:
    """Peak of the device, or of the process without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


# ------------------------------------------------------------------ phases
class PhaseTimer(Hook):
    """Times the phases of each iteration by wrapping what runs them.

    Args:
        warmup (int): Iterations that are not counted.
    """

    priority = 'VERY_HIGH'

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.times: dict[str, list[float]] = defaultdict(list)
        self.current: dict[str, float] = defaultdict(float)

    def wrap(self, owner, name: str, phase: str) -> None:
        """Count the time inside ``owner.name`` as ``phase``."""
        function = getattr(owner, name)

        def timed(*args, **kwargs):
            began = now()
            try:
                return function(*args, **kwargs)
            finally:
                self.current[phase] += now() - began

        # Past nn.Module.__setattr__: this is no submodule.
        object.__setattr__(owner, name, timed)

    def before_train_epoch(self, runner: Runner) -> None:
        """Wrap; every hook has made its parts by now."""
        model = runner.model
        wrap = self.wrap
        if hasattr(model, 'student'):
            wrap(model, 'get_pseudo_instances', 'teacher')
            wrap(model.student, 'loss', 'student forward')
            for name in ('copy_paste', 'strong_augment'):
                part = getattr(model, name)
                if part is not None:
                    wrap(part, 'forward', name.replace('_', ' '))
            segmenter = getattr(model.refiner, 'segmenter', None)
        else:
            wrap(model, 'loss', 'forward')
            segmenter = getattr(model, 'segmenter', None)
        if segmenter is not None:
            wrap(segmenter, 'encode', 'SAM encode')
            wrap(segmenter, 'decode', 'SAM decode')
            wrap(segmenter, 'similarity', 'SAM decode')
        wrap(runner.optim_wrapper, 'backward', 'backward')
        wrap(runner.optim_wrapper, 'step', 'optimiser')
        for hook in runner.hooks:
            if type(hook).__name__ == 'BurnInMeanTeacherHook':
                wrap(hook, 'before_train_iter', 'EMA')
        self.end = now()

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """The batch is there."""
        self.begin = now()
        self.current.clear()
        self.current['data wait'] = self.begin - self.end

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Keep the times of this iteration."""
        self.end = now()
        wait = self.current['data wait']
        self.current['whole step'] = self.end - self.begin + wait
        if batch_idx >= self.warmup:
            for phase, seconds in self.current.items():
                self.times[phase].append(1000 * seconds)


def benchmark(cfg: Config, iters: int, warmup: int = 3) -> dict:
    """Train for some iterations and time the phases.

    Returns:
        dict: ``phases`` (median ms and share of the step), ``peak_mib``.
    """
    timer = PhaseTimer(warmup)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.train_cfg.update(max_iters=iters + warmup)
        cfg.train_cfg.val_begin = iters + warmup + 1
        cfg.default_hooks.checkpoint.interval = -1
        cfg.default_hooks.checkpoint.save_last = False
        cfg.log_level = 'WARNING'
        if 'teacher_checkpoint' in cfg.model:
            # No burn-in: EMA runs and no teacher is needed. A random one is
            # never sure: take every query that names a class.
            cfg.custom_hooks[0].burn_in = 0
            cfg.model.pseudo_labeler.cls_thr = 0.0
        runner = Runner.from_cfg(cfg)
        runner.register_hook(timer, priority='VERY_HIGH')
        runner.train()
    whole = statistics.median(timer.times.pop('whole step'))
    phases = {
        name: dict(
            ms=round(statistics.median(values), 1),
            share=round(100 * statistics.median(values) / whole, 1),
        )
        for name, values in timer.times.items()
    }
    known = sum(p['ms'] for p in phases.values())
    phases['other'] = dict(
        ms=round(whole - known, 1), share=round(100 - 100 * known / whole, 1)
    )
    phases['whole step'] = dict(ms=round(whole, 1), share=100.0)
    return dict(phases=phases, peak_mib=round(peak_memory_mib()))


# -------------------------------------------------------------- comparisons
def median_ms(functions: dict[str, Callable], repeats: int) -> dict:
    """Median time of each, taking turns so that noise hits all alike."""
    times: dict[str, list[float]] = defaultdict(list)
    for turn in range(repeats + 1):
        for name, function in functions.items():
            began = now()
            function()
            if turn:  # the first warms up
                times[name].append(1000 * (now() - began))
    return {n: round(statistics.median(t), 1) for n, t in times.items()}


def compare_pr(segmenter, size, repeats, device) -> dict:
    """PR on 4 images x 20 masks: batched, bare calls, one by one."""
    from s4m.models import PseudoLabelRefiner
    from s4m.models.segmenters import attach_segmenter

    refiner = PseudoLabelRefiner(segmenter={})
    attach_segmenter(refiner, segmenter)
    rgb = torch.rand(4, 3, *size, device=device) * 255
    logits = torch.randn(4, 20, size[0] // 4, size[1] // 4, device=device)

    def instances(images: torch.Tensor):
        return [
            InstanceData(
                labels=torch.zeros(len(x)), mask_logits=x, masks=x > 0
            )
            for x in images
        ]

    points = torch.rand(80, 3, 2, device=device) * size[0]
    ids = torch.arange(4, device=device).repeat_interleave(20)

    def bare():
        embeddings = segmenter.encode(rgb)
        segmenter.decode(embeddings, ids, points=points)

    def one_image():
        for i in range(4):
            embeddings = segmenter.encode(rgb[i : i + 1])
            for k in range(20):
                segmenter.decode(
                    embeddings,
                    ids[:1],
                    points=points[20 * i + k : 20 * i + k + 1],
                )

    return median_ms(
        {
            'batched refiner': lambda: refiner(rgb, instances(logits)),
            'encoder and decoder alone': bare,
            'one image, one mask at a time': one_image,
        },
        repeats,
    )


def compare_sd(segmenter, size, repeats, device, num_points=128) -> dict:
    """SD targets of one image: early stop, bare blocks, whole decoder."""
    rgb = torch.rand(1, 3, *size, device=device) * 255
    points = torch.rand(1, num_points, 2, device=device) * size[0]
    model = segmenter.model
    seen = []
    transformer = model.sam_mask_decoder.transformer
    ids = torch.zeros(num_points, dtype=torch.long, device=device)

    def early():
        segmenter.similarity(segmenter.encode(rgb), points)

    def blocks():
        """sam2's own two-way blocks on the same prompts, chunk by chunk."""
        embeddings = segmenter.encode(rgb)
        coords, labels = segmenter._prompts(
            points.reshape(-1, 1, 2), None, embeddings.canvas_size
        )
        with torch.no_grad():
            pe = model.sam_prompt_encoder.get_dense_pe()
            pe = pe.flatten(2).transpose(1, 2)
            for part in segmenter._chunks(num_points):
                sparse, dense = model.sam_prompt_encoder(
                    points=(coords[part], labels[part]), boxes=None, masks=None
                )
                tokens = segmenter._output_tokens(sparse)
                keys = (embeddings.image_embed + dense).flatten(2)
                queries, keys = tokens, keys.transpose(1, 2)
                for layer in transformer.layers:
                    queries, keys = layer(
                        queries=queries,
                        keys=keys,
                        query_pe=tokens,
                        key_pe=pe,
                    )

    def whole():
        """The full decoder, its tokens kept, then all rows."""
        handle = transformer.register_forward_hook(
            lambda _m, _a, out: seen.append(out[1])
        )
        embeddings = segmenter.encode(rgb)
        segmenter.decode(embeddings, ids, points=points.reshape(-1, 1, 2))
        handle.remove()
        tokens = F.normalize(torch.cat(seen).float(), dim=-1)
        seen.clear()
        tokens @ tokens[:, :1].transpose(1, 2)

    return median_ms(
        {
            'early stop, chunked': early,
            'encoder and two-way blocks alone': blocks,
            'whole decoder': whole,
        },
        repeats,
    )


def compare_arp(_segmenter, size, repeats, device) -> dict:
    """ARP on 4 images x 20 masks: vectorised against loops."""
    from s4m.models import RefinedCopyPaste

    rgb = torch.rand(4, 3, *size, device=device)
    # Cityscapes' 3000 pixels, at this size.
    min_area = 3000 * size[0] * size[1] / (512 * 1024)
    items = []
    for _ in range(4):
        masks = torch.zeros(20, *size, dtype=torch.bool, device=device)
        for mask in masks:
            y = int(torch.randint(size[0] * 3 // 4, ()))
            x = int(torch.randint(size[1] * 3 // 4, ()))
            mask[y : y + size[0] // 4, x : x + size[1] // 4] = True
        labels = torch.zeros(20, dtype=torch.long, device=device)
        items.append(InstanceData(labels=labels, scores=labels, masks=masks))

    def loop():
        image = rgb[0].clone()
        layers = [m.clone() for m in items[0].masks]
        for mask in items[1].masks:
            if mask.sum() >= min_area:
                image[:, mask] = rgb[1][:, mask]
                layers.append(mask.clone())
        for i, mask in enumerate(layers):
            for later in layers[i + 1 :]:
                mask &= ~later

    static = RefinedCopyPaste('static', min_area)
    dynamic = RefinedCopyPaste('dynamic', min_area)
    pair = (rgb[0], items[0], rgb[1], items[1])
    return median_ms(
        {
            'vectorised, static': lambda: static.paste(*pair),
            'vectorised, dynamic': lambda: dynamic.paste(*pair),
            'loop, static': loop,
        },
        repeats,
    )


def compare_ema(_segmenter, _size, repeats, device) -> dict:
    """EMA of Mask2Former-R50: fused against a loop over tensors."""
    from mmdet.registry import MODELS
    from s4m.engine.hooks.burn_in_mean_teacher_hook import (
        BurnInMeanTeacherHook,
        _paired_tensors,
    )

    cfg = Config.fromfile(ROOT / 'configs/_base_/models/mask2former_r50.py')
    cfg.model.backbone.init_cfg = None
    teacher, student = (MODELS.build(cfg.model).to(device) for _ in range(2))
    hook = BurnInMeanTeacherHook(burn_in=0)
    hook._tensors = _paired_tensors(teacher, student)

    @torch.no_grad()
    def loop():
        other = student.state_dict()
        for name, value in teacher.state_dict().items():
            if value.is_floating_point():
                value.mul_(1 - hook.momentum)
                value.add_(other[name], alpha=hook.momentum)
            else:
                value.copy_(other[name])

    return median_ms(
        {'fused': lambda: hook.update(hook.momentum), 'loop': loop}, repeats
    )


COMPARISONS = dict(
    pr=compare_pr, sd=compare_sd, arp=compare_arp, ema=compare_ema
)


def print_phases(result: dict) -> None:
    """The table of :func:`benchmark`."""
    print('| phase | median ms | share % |\n|---|---|---|')
    for name, row in result['phases'].items():
        print(f'| {name} | {row["ms"]} | {row["share"]} |')
    print(f'peak memory {result["peak_mib"]} MiB')


def main() -> None:
    """Command line."""
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', nargs='?')
    parser.add_argument('--iters', type=int, default=20)
    parser.add_argument('--compare', nargs='+', choices=list(COMPARISONS))
    parser.add_argument('--segmenter', default='nano_sam2')
    parser.add_argument('--size', type=parse_size, default='128x256')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    parser.add_argument('--out', type=Path, help='write JSON here')
    args = parser.parse_args()
    init_default_scope('mmdet')
    result: dict = {}
    if args.config:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        result['step'] = benchmark(cfg, args.iters)
        print_phases(result['step'])
    if args.compare:
        import s4m  # noqa: F401

        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        segmenter = MODELS.build(
            dict(type='SAM2Segmenter', config=args.segmenter, checkpoint=None)
        )
        for name in args.compare:
            times = COMPARISONS[name](
                segmenter, args.size, args.repeats, device
            )
            result[name] = times
            first = next(iter(times.values()))
            print(f'\n| {name} | median ms | ratio |\n|---|---|---|')
            for label, ms in times.items():
                print(f'| {label} | {ms} | {ms / first:.2f} |')
    if args.out:
        args.out.write_text(json.dumps(result, indent=2))


if __name__ == '__main__':
    main()
