# SPDX-License-Identifier: Apache-2.0
"""Conversion against outputs and names of the released reference."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2_files import predict, save
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import revert_sync_batchnorm
from s4m.apis import detectron2_keys as keys
from s4m.apis.convert import convert_to_mmdet

#: Folder with outputs of the released reference, where somebody has it.
REFERENCE = Path(os.environ.get('S4M_REFERENCE', 'none'))


@pytest.mark.skipif(not REFERENCE.is_dir(), reason='no S4M_REFERENCE')
@pytest.mark.parametrize('name', ['student', 'teacher'])
def test_reference__same_outputs(name):
    want = np.load(REFERENCE / 'expected.npz')
    file = REFERENCE / 'checkpoint.pth'
    checkpoint, cfg = convert_to_mmdet(file, model=name)
    cfg.test_cfg.max_per_image = 20
    net = revert_sync_batchnorm(MODELS.build(cfg)).eval()
    net.load_state_dict(checkpoint['state_dict'])
    meta = dict(img_shape=(96, 160), ori_shape=(192, 320))
    image = torch.from_numpy(want['image_rgb']).flip(0)  # read as BGR
    data = net.data_preprocessor(
        dict(inputs=[image], data_samples=[DetDataSample(metainfo=meta)])
    )
    cls, masks = predict(net, data['inputs'])
    for found, key in ((cls, 'pred_logits'), (masks, 'pred_masks')):
        torch.testing.assert_close(
            found[0],
            torch.from_numpy(want[f'{name}_{key}']),
            atol=1e-5,
            rtol=1e-5,
        )
    with torch.no_grad():
        (out,) = net.predict(data['inputs'], data['data_samples'])
    pred = out.pred_instances
    order = pred.scores.argsort(descending=True, stable=True)
    theirs = np.argsort(-want[f'{name}_scores'], kind='stable')
    np.testing.assert_allclose(
        pred.scores[order], want[f'{name}_scores'][theirs], atol=1e-5
    )
    classes = want[f'{name}_classes'][theirs]
    np.testing.assert_array_equal(pred.labels[order], classes)
    shape = tuple(want[f'{name}_masks_shape'])
    bits = np.unpackbits(want[f'{name}_masks'])[: np.prod(shape)]
    np.testing.assert_array_equal(
        pred.masks[order], bits.reshape(shape)[theirs].astype(bool)
    )


@pytest.mark.skipif(not REFERENCE.is_dir(), reason='no S4M_REFERENCE')
@pytest.mark.parametrize('kind', ['r50', 'swin_tiny'])
def test_reference__full_size_keys(tmp_path, kind):
    """Nothing is left over on either side."""
    text = (REFERENCE / f'keys_{kind}_cityscapes.txt').read_text()
    state = {
        name: torch.zeros(json.loads(shape))
        for name, shape in re.findall(r'^(\S+) (\[[\d, ]*\])$', text, re.M)
    }
    assert len(state) > 400
    for name in keys.DROPPED:
        state.pop(name, None)
    checkpoint, _ = convert_to_mmdet(save(tmp_path / 'x.pth', state))
    assert checkpoint['meta']['detectron2']['filled'] == {'model': []}
    back = keys.to_detectron2(checkpoint['state_dict'])
    assert back.keys() == state.keys()
