# SPDX-License-Identifier: Apache-2.0
"""Tools for data and checkpoints as commands."""

from __future__ import annotations

import json
import runpy
import sys

import pytest
import torch
from conftest import ROOT


@pytest.fixture
def run(monkeypatch):
    """Run a tool as a command, in this process."""

    def call(tool: str, *args) -> None:
        path = str(ROOT / 'tools' / f'{tool}.py')
        monkeypatch.setattr(sys, 'argv', [path, *map(str, args)])
        runpy.run_path(path, run_name='__main__')

    return call


def test_shapes__from_nothing_to_a_split(run, tmp_path):
    folder, root = 'dataset_converters', tmp_path / 'shapes'
    shape = ('--size', '32x64', '--train', 3, '--val', 1, '--workers', 1)
    run(f'{folder}/make_shapes', '--out', root, *shape)
    with pytest.raises(SystemExit, match='name another --out'):
        run(f'{folder}/make_shapes', '--out', root, *shape)
    with pytest.raises(SystemExit, match='not HEIGHTxWIDTH'):
        run(f'{folder}/make_shapes', '--size', '8x8')
    run(f'{folder}/cityscapes', root, '--workers', 1)
    run(f'{folder}/cityscapes_splits', root, '--percent', 40, '--seed', 0)
    semi = root / 'annotations/semi'
    assert len(json.loads((semi / 'seed0@40.json').read_text())['images']) == 1
    with pytest.raises(SystemExit, match='published with the code'):
        run(f'{folder}/cityscapes_splits', root, '--percent', 40,
            '--list', tmp_path / 'none.txt')  # fmt: skip
    out = tmp_path / 'all.json'
    ann = 'annotations/instancesonly_filtered_gtFine_train.json'
    run(f'{folder}/images_to_coco', root / 'leftImg8bit/train',
        '--categories', root / ann, '--out', out)  # fmt: skip
    assert len(json.loads(out.read_text())['images']) == 3


def test_coco_splits(run, tmp_path):
    images = [dict(id=i, file_name=f'{i}.jpg') for i in (1, 2)]
    annotations = [dict(id=i, image_id=i, category_id=1) for i in (1, 2)]
    data = dict(images=images, annotations=annotations)
    data['categories'] = [dict(id=1, name='cat')]
    (tmp_path / 'train.json').write_text(json.dumps(data))
    (tmp_path / 'list.json').write_text('[1]')
    run('dataset_converters/coco_splits', tmp_path, '--ann', 'train.json',
        '--percent', 50, '--fold', 3, '--out', 'parts', '--classes', 'cat',
        '--list', tmp_path / 'list.json', '--list-kind', 'ids')  # fmt: skip
    labeled = json.loads((tmp_path / 'parts/train.3@50.json').read_text())
    assert labeled['images'] == images[:1]


@pytest.mark.parametrize(
    ('tool', 'args', 'message'),
    [
        ('dataset_converters/ade20k', ['FOLDER'], 'annotations_instance'),
        ('misc/publish_model', ['CONFIG', 'FILE'], 'no state_dict'),
        (
            'model_converters/detectron2_to_mmdet',
            ['FILE', 'x.pth', '--model', 'both'],
            'there is no teacher',
        ),
        ('model_converters/mmdet_to_detectron2', ['FILE', 'x.py'], 'a config'),
        ('train_nano_sam2', ['--eval', 'none.pt'], 'does not exist'),
    ],
)
def test_mistakes__are_one_line(run, tmp_path, tool, args, message):
    file = tmp_path / 'x.pth'
    torch.save({'model': {'modelStudent.w': torch.ones(1)}}, file)
    names = dict(
        FOLDER=tmp_path,
        FILE=file,
        CONFIG=ROOT
        / 'configs/guided_distillation/guided_distillation_shapes_5p.py',
    )
    with pytest.raises(SystemExit, match=message) as e:
        run(tool, *(names.get(a, a) for a in args))
    assert '\n' not in str(e.value)
