# SPDX-License-Identifier: Apache-2.0
"""A training that a device is too small for ends with advice."""

from __future__ import annotations

import pytest
import torch
from device_runs import method_config, train_method
from s4m.apis.cli import one_line_errors
from s4m.apis.config import get_config
from s4m.apis.memory import describe_memory
from s4m.apis.precision import set_precision

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]


def test_out_of_memory__of_a_training(
    device, shapes_config, shapes_root, monkeypatch
):
    def fail(*_, **__):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory.')

    cfg = method_config('guided_distillation', shapes_config, shapes_root, str)
    # What PyTorch's backward pass calls.
    monkeypatch.setattr(torch.autograd, '_engine_run_backward', fail)
    with pytest.raises(SystemExit) as error:
        one_line_errors(train_method)(cfg)
    line = error.value.code
    assert '\n' not in line and 'in the backward pass' in line
    assert '2 + 2 images' in line and 'bf16' in line
    for option in (
        'train_dataloader.batch_size=2',
        'optim_wrapper.accumulative_counts=2',
        'model.detector.backbone.with_cp=True',
    ):
        assert option in line


def test_line__names_the_memory_of_the_device(device):
    cfg = get_config('s4m_cityscapes_10p')
    set_precision(cfg)
    line = describe_memory(cfg)
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    assert f'the GPU has {total:.1f} GiB' in line
    assert 'in bf16' in line
