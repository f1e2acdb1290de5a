# SPDX-License-Identifier: Apache-2.0
"""Trainings of the whole method; precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.structures import InstanceData
from semi_trainings import Spy, run, semi_config


def test_s4m__trains_logs_and_saves_no_segmenter(shapes_config, teacher_file):
    """The whole method; one SAM instance; nothing of it in the checkpoint."""
    from s4m.models import SAM2Segmenter

    made = []
    build = SAM2Segmenter.__init__

    def counted(self, *args, **kwargs):
        made.append(self)
        build(self, *args, **kwargs)

    cfg = semi_config(shapes_config, 's4m_shapes_5p', iters=3)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.default_hooks.refine_log.draw_interval = 2
    spy = Spy()
    SAM2Segmenter.__init__ = counted
    try:
        runner = run(cfg, spy)
    finally:
        SAM2Segmenter.__init__ = build
    assert len(made) == 1
    assert not list(runner.model.refiner.parameters())
    assert not runner.model.refiner._forward_hooks
    checkpoint = torch.load(f'{cfg.work_dir}/iter_3.pth', weights_only=False)
    keys = checkpoint['state_dict'].keys()
    assert all(k.startswith(('teacher.', 'student.')) for k in keys)
    num_params = sum(
        len(g['params']) for g in checkpoint['optimizer']['param_groups']
    )
    assert num_params == len(list(runner.model.student.parameters()))
    assert all(o['num_pseudo'] > 0 for o in spy.outputs)
    scalars = runner.message_hub.log_scalars
    assert 0 <= scalars['train/refine_iou'].current() <= 1
    assert scalars['train/refine_kept'].current() == 1
    pictures = Path(cfg.work_dir).rglob('*.png')
    assert any('pseudo_labels' in p.name for p in pictures)


def test_training_step__edge_cases(shapes_config, teacher_file):
    """A batch without pseudo-labels, an image without objects, batch of 1."""
    cfg = semi_config(shapes_config, 's4m_shapes_5p', iters=1)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.model.pseudo_labeler.cls_thr = 1.0
    cfg.train_dataloader.batch_size = 2
    cfg.train_dataloader.sampler.update(num_labeled=1, num_unlabeled=1)

    class Empty(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch):
            for sample in data_batch['data_samples']['sup']:
                if sample is not None:
                    sample.gt_instances = sample.gt_instances[:0]

    spy = Spy()
    run(cfg, Empty(), spy)
    out = spy.outputs[0]
    assert out['num_pseudo'] == 0
    assert torch.isfinite(torch.stack(list(out.values()))).all()


def test_refine_log__only_watches(shapes_config, teacher_file):
    """A run without the log has the same losses."""
    outputs = []
    for watched in (True, False):
        cfg = semi_config(shapes_config, 's4m_shapes_5p', iters=2)
        cfg.model.teacher_checkpoint = teacher_file
        if not watched:
            del cfg.default_hooks.refine_log
        spy = Spy()
        run(cfg, spy)
        outputs.append(spy.outputs)
    for a, b in zip(*outputs, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_autocast__costs_losses_and_pixel_decoder_are_fp32(shapes_config):
    """bf16 around, fp32 inside; the loss stays near the fp32 one."""
    from mmdet.registry import MODELS

    cfg = shapes_config('supervised_shapes_5p')
    # By default it computes in bf16 but for its sampling.
    cfg.model.panoptic_head.pixel_decoder.bf16 = False
    model = MODELS.build(cfg.model)
    seen = []
    model.panoptic_head.pixel_decoder.register_forward_hook(
        lambda _m, _a, out: seen.append(out[0].dtype)
    )
    cost = model.panoptic_head.assigner.match_costs[1]
    forward = type(cost).__call__

    def spy_cost(self, pred_instances, gt_instances, **kwargs):
        seen.append(pred_instances.masks.dtype)
        assert not torch.is_autocast_enabled('cpu')
        return forward(self, pred_instances, gt_instances, **kwargs)

    type(cost).__call__ = spy_cost
    from mmdet.structures import DetDataSample

    sample = DetDataSample(
        metainfo=dict(img_shape=(64, 128), batch_input_shape=(64, 128))
    )
    sample.gt_instances = InstanceData(
        labels=torch.tensor([1]),
        masks=torch.ones(1, 64, 128, dtype=torch.bool),
    )
    try:
        with torch.autocast('cpu', torch.bfloat16):
            losses = model.loss(torch.randn(1, 3, 64, 128), [sample])
    finally:
        type(cost).__call__ = forward
    assert set(seen) == {torch.float32}
    assert all(v.dtype == torch.float32 for v in losses.values())
    sum(losses.values()).backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in grads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_amp__on_a_gpu(shapes_config, teacher_file, dtype):
    cfg = semi_config(shapes_config, 's4m_shapes_5p', iters=3)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=dtype)
    spy = Spy()
    run(cfg, spy)
    assert all(torch.isfinite(v) for o in spy.outputs for v in o.values())
