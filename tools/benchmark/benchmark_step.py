# SPDX-License-Identifier: Apache-2.0
"""Where a training step spends its time, and what the batching saves.

    python tools/benchmark/benchmark_step.py configs/s4m/s4m_shapes_5p.py
    python tools/benchmark/benchmark_step.py --compare pr sd arp ema gd \
        --segmenter sam2.1_hiera_tiny --size 512x1024 \
        --gd-config configs/guided_distillation/\
guided_distillation_cityscapes_10p.py

The first form trains a config for some iterations and prints, per phase, the
median milliseconds, the share of the step, and the peak memory. ``--compare``
times a part against its naive version, and against the bare calls that it
cannot avoid, in one process, in turns: the ratios are what counts, machines
are noisy. Its peak memory is what a call adds to what was there before it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import math
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
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tools' / 'dataset_converters'))
from make_shapes import parse_size  # noqa: E402

sys.path.append(str(Path(__file__).parents[1]))
from s4m.utils.whole_files import write_json  # noqa: E402


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


def settled_mib() -> float:
    """Resident memory when what was freed is returned."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


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


class MemoryWatch(Hook):
    """Resident memory every 50 iterations, freed pages returned first."""

    def __init__(self) -> None:
        self.resident: list[float] = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Collect, trim and look."""
        if self.every_n_train_iters(runner, 50):
            self.resident.append(round(settled_mib(), 1))


def benchmark(cfg: Config, iters: int, warmup: int = 3) -> dict:
    """Train for some iterations and time the phases.

    Returns:
        dict: ``phases`` (median ms and share of the step), ``peak_mib`` and
        ``resident_mib`` after every 50 iterations.
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
            cfg.default_hooks.mean_teacher.burn_in = 0
            cfg.model.pseudo_labeler.cls_thr = 0.0
        runner = Runner.from_cfg(cfg)
        runner.register_hook(timer, priority='VERY_HIGH')
        memory = MemoryWatch()
        runner.register_hook(memory, priority='VERY_LOW')
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
    return dict(
        phases=phases,
        peak_mib=round(peak_memory_mib()),
        resident_mib=memory.resident,
    )


# -------------------------------------------------------------- comparisons
def added_memory_mib(function: Callable[[], object]) -> float:
    """What a call's tensors add to the memory at their peak, device or host.

    What PyTorch's allocator gives, to the byte: the resident memory of a
    process depends on what malloc has left from earlier calls.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profiler:
        function()
    events = profiler.profiler.kineto_results.events()
    changes = [
        (e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]'
    ]
    changes.sort(key=lambda change: change[0])
    sizes = itertools.accumulate(num_bytes for _, num_bytes in changes)
    return max(sizes, default=0) / 2**20


def measure(functions: dict[str, Callable], repeats: int) -> dict:
    """Median time and added memory of each.

    They take turns so that noise hits all alike; the first turn warms up and
    gives the memory.
    """
    times: dict[str, list[float]] = defaultdict(list)
    memory = {n: round(added_memory_mib(f)) for n, f in functions.items()}
    for _ in range(repeats):
        for name, function in functions.items():
            began = now()
            function()
            times[name].append(1000 * (now() - began))
    return {
        n: dict(ms=round(statistics.median(t), 1), peak_mib=memory[n])
        for n, t in times.items()
    }


def compare_pr(segmenter, size, repeats, device, **_) -> dict:
    """PR on 4 images x 20 masks: batched, sam2's bare calls, one by one."""
    from s4m.models import PseudoLabelRefiner
    from s4m.models.promptable import attach_segmenter

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

    points = torch.rand(4, 20, 3, 2, device=device) * size[0]

    def bare(images_at_once: int, masks_at_once: int) -> None:
        """sam2's encoder and decoder as SAM2ImagePredictor calls them."""
        for first in range(0, 4, images_at_once):
            embeddings = segmenter.encode(rgb[first : first + images_at_once])
            for i in range(len(embeddings)):
                for part in points[first + i].split(masks_at_once):
                    bare_decode(segmenter, embeddings, i, part)

    return measure(
        {
            'batched refiner': lambda: refiner(rgb, instances(logits)),
            "sam2's encoder and decoder alone": lambda: bare(4, 20),
            'one image, one mask at a time': lambda: bare(1, 1),
        },
        repeats,
    )


@torch.no_grad()
def bare_decode(segmenter, embeddings, image: int, points) -> None:
    """sam2's own decoder on (N, K, 2) points of one image of a batch."""
    model = segmenter.model
    encoder, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
    coords, labels = segmenter._prompts(points, None, embeddings.canvas_size)
    sparse, dense = encoder(points=(coords, labels), boxes=None, masks=None)
    decoder(
        image_embeddings=embeddings.image_embed[image : image + 1],
        image_pe=encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=True,
        high_res_features=[
            m[image : image + 1] for m in embeddings.high_res_feats
        ],
    )


def compare_sd(segmenter, size, repeats, device, num_points, **_) -> dict:
    """SD targets of one image: early stop, bare blocks, whole decoder."""
    rgb = torch.rand(1, 3, *size, device=device) * 255
    points = torch.rand(1, num_points, 2, device=device) * size[0]
    model = segmenter.model
    seen = []
    transformer = model.sam_mask_decoder.transformer

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
            for part in zip(
                coords.split(segmenter.chunk_size),
                labels.split(segmenter.chunk_size),
                strict=True,
            ):
                sparse, dense = model.sam_prompt_encoder(
                    points=part, boxes=None, masks=None
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
        """The full decoder on all points, its tokens kept, then the rows."""
        handle = transformer.register_forward_hook(
            lambda _m, _a, out: seen.append(out[1])
        )
        embeddings = segmenter.encode(rgb)
        bare_decode(segmenter, embeddings, 0, points[0][:, None])
        handle.remove()
        tokens = F.normalize(torch.cat(seen).float(), dim=-1)
        seen.clear()
        tokens @ tokens[:, :1].transpose(1, 2)

    return measure(
        {
            'early stop, chunked': early,
            'encoder and two-way blocks alone': blocks,
            'whole decoder': whole,
        },
        repeats,
    )


def compare_arp(size, repeats, device, **_) -> dict:
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
    return measure(
        {
            'vectorised, static': lambda: static.paste(*pair),
            'vectorised, dynamic': lambda: dynamic.paste(*pair),
            'loop, static': loop,
        },
        repeats,
    )


def compare_ema(repeats, device, **_) -> dict:
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

    return measure(
        {'fused': lambda: hook.update(hook.momentum), 'loop': loop}, repeats
    )


def compare_gd(gd_config, size, repeats, device, **_) -> dict:
    """A Guided Distillation step against plain Mask2Former steps.

    Both train on the same 4 + 4 images and the same labels; the plain
    Mask2Former is MMDet's own, and has a teacher's forward pass beside it.
    """
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.model import revert_sync_batchnorm

    cfg = Config.fromfile(gd_config)
    cfg.model.detector.backbone.init_cfg = None
    # A random teacher is never sure: take every query that names a class.
    cfg.model.pseudo_labeler.cls_thr = 0.0
    semi = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device).train()
    semi._missing_hooks.clear()  # no training loop here
    plain_cfg = cfg.model.detector
    plain_cfg.panoptic_head.type = 'Mask2FormerHead'
    plain_cfg.panoptic_head.pixel_decoder.type = 'MSDeformAttnPixelDecoder'
    plain = revert_sync_batchnorm(MODELS.build(plain_cfg)).to(device).train()
    plain.load_state_dict(semi.student.state_dict())

    def sample(labels, masks) -> DetDataSample:
        out = DetDataSample()
        meta = dict(img_shape=size, batch_input_shape=size, pad_shape=size)
        out.set_metainfo(meta)
        arrays = masks.byte().cpu().numpy()
        out.gt_instances = InstanceData(
            labels=labels, masks=BitmapMasks(arrays, *size)
        )
        return out

    pixels = {
        branch: torch.rand(4, 3, *size, device=device) * 255
        for branch in ('sup', 'unsup_teacher', 'unsup_student')
    }
    truth = []
    for _ in range(4):
        masks = torch.zeros(10, *size, dtype=torch.bool, device=device)
        for k, mask in enumerate(masks):
            mask[k * size[0] // 12 :, k * size[1] // 12 :] = True
        truth.append(sample(torch.arange(10, device=device) % 8, masks))

    def fresh() -> dict:
        empty = torch.zeros(0, *size, dtype=torch.bool)
        none = torch.zeros(0, dtype=torch.long, device=device)
        return {
            'sup': truth,
            'unsup_teacher': [sample(none, empty) for _ in range(4)],
            'unsup_student': [sample(none, empty) for _ in range(4)],
        }

    with torch.no_grad():
        pseudo = semi.get_pseudo_instances(
            pixels['unsup_teacher'], fresh()['unsup_teacher']
        )
    known = [
        sample(
            item.labels,
            F.interpolate(item.masks[:, None].byte(), size)[:, 0],
        )
        for item in pseudo
    ]
    num_pseudo = sum(len(item) for item in pseudo) / 4
    normalize = semi.data_preprocessor.normalize
    optimizers = [torch.optim.AdamW(semi.student.parameters(), 1e-9)]
    optimizers.append(torch.optim.AdamW(plain.parameters(), 1e-9))

    def train(optimizer, *losses) -> None:
        for part in losses:
            semi.parse_losses(part())[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    def guided() -> None:
        samples = fresh()
        train(optimizers[0], lambda: semi.loss(pixels, samples))

    def plain_steps() -> None:
        with torch.no_grad():
            semi.teacher(
                normalize(pixels['unsup_teacher']),
                fresh()['unsup_teacher'],
                mode='tensor',
            )
        train(
            optimizers[1],
            lambda: plain.loss(normalize(pixels['sup']), truth),
            lambda: plain.loss(normalize(pixels['unsup_student']), known),
        )

    return measure(
        {
            f'Guided Distillation step ({num_pseudo:.0f} pseudo-labels an '
            'image)': guided,
            'Mask2Former steps and a teacher forward': plain_steps,
        },
        repeats,
    )


def compare_pxl(size, repeats, device, **_) -> dict:
    """L_pxl of 4 images, forward and backward, R = 200, 384 channels."""
    from s4m.models import PixelContrastiveLoss

    def call(stride: int, **kwargs) -> Callable[[], object]:
        # Padded to patches of 14, as the student sees it.
        patches = [math.ceil(side / 14) for side in size]
        grid = [math.ceil(14 * n / stride) for n in patches]
        features = torch.randn(2, 4, 384, *grid, device=device)
        weak, strong = features.unbind(0)
        weak = weak.clone().requires_grad_()
        masks = torch.randn(4, 100, size[0] // 4, size[1] // 4, device=device)
        classes = torch.randn(4, 100, 9, device=device)
        loss = PixelContrastiveLoss(384, **kwargs).to(device)
        return lambda: loss(weak, strong, masks, classes).backward()

    square = 2**30  # all anchors at once
    return measure(
        {
            'stride 28': call(28),
            'stride 28, one anchor at a time': call(28, chunk_size=1),
            'stride 14': call(14),
            'stride 14, one chunk an image': call(14, chunk_size=square),
        },
        repeats,
    )


COMPARISONS = dict(
    pr=compare_pr,
    sd=compare_sd,
    arp=compare_arp,
    ema=compare_ema,
    gd=compare_gd,
    pxl=compare_pxl,
)


def print_phases(result: dict) -> None:
    """The table of :func:`benchmark`."""
    print('| phase | median ms | share % |\n|---|---|---|')
    for name, row in result['phases'].items():
        print(f'| {name} | {row["ms"]} | {row["share"]} |')
    print(f'peak memory {result["peak_mib"]} MiB')
    if result['resident_mib']:
        print(f'resident MiB every 50 iterations: {result["resident_mib"]}')


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
    parser.add_argument(
        '--num-points', type=int, default=128, help='of the comparison sd'
    )
    parser.add_argument(
        '--gd-config',
        default=ROOT
        / 'configs/guided_distillation/guided_distillation_shapes_5p.py',
        help='of the comparison gd',
    )
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
            rows = COMPARISONS[name](
                segmenter=segmenter,
                size=args.size,
                repeats=args.repeats,
                device=device,
                num_points=args.num_points,
                gd_config=args.gd_config,
            )
            result[name] = rows
            first = next(iter(rows.values()))['ms']
            print(f'\n| {name} | median ms | ratio | added MiB |')
            print('|---|---|---|---|')
            for label, row in rows.items():
                ms = row['ms']
                print(f'| {label} | {ms} | {ms / first:.2f} | ', end='')
                print(f'{row["peak_mib"]} |', flush=True)
    if args.out:
        write_json(args.out, result, indent=2)


if __name__ == '__main__':
    main()
