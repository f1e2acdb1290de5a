# SPDX-License-Identifier: Apache-2.0
"""One name for the labelled and unlabelled images of all stages."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from s4m.apis.config import get_config
from s4m.apis.splits import check_split, split_options
from s4m.apis.stages import stages_of

LABELED = 'annotations/semi/seed3@10.json'
UNLABELED = 'annotations/semi/seed3@10-unlabeled.json'


def _files(cfg) -> tuple:
    """Labelled and unlabelled files that a stage reads, and its teacher's."""
    data = cfg.train_dataloader.dataset
    if 'labeled' in data:
        unlabeled = data.unlabeled.ann_file
        images = cfg.get('pseudo_labels', {}).get('images')
        return data.labeled.ann_file, unlabeled, images
    return data.ann_file, None, None


@pytest.mark.parametrize(
    ('method', 'stages'),
    [
        ('supervised', ['supervised']),
        ('guided_distillation', ['supervised', 'guided_distillation']),
        ('s4m', ['s4m_teacher', 's4m']),
        (
            'sskd_refine',
            [
                'sskd_teacher_adapt',
                'sskd_teacher_selftrain',
                'sskd_distill',
                'sskd_refine',
            ],
        ),
    ],
)
def test_split__of_every_stage(method, stages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / 'data/cityscapes' / LABELED
    file.parent.mkdir(parents=True)
    file.touch()
    chain = stages_of(f'{method}_cityscapes_10p', split='seed3@10')
    assert [s.config.stem for s in chain] == [
        f'{name}_cityscapes_10p' for name in stages
    ]
    for stage in chain:
        assert str(stage.makes.parent) == 'work_dirs/seed3@10'
        labeled, unlabeled, images = _files(stage.load())
        assert labeled == LABELED
        if images is not None:
            assert images == f'data/cityscapes/{UNLABELED}'
            before = stage.needs['pseudo_labels.teacher'].makes
            assert unlabeled == f'{before}/pseudo_labels.json'
        elif unlabeled is not None:
            assert unlabeled == UNLABELED
        assert 'published@10' not in str(stage.load().train_dataloader)


def test_split__unlabelled_images_of_all_stay():
    """S4M on COCO takes all images, whatever the labelled ones are."""
    cfg = get_config('s4m_coco_10p')
    before = cfg.train_dataloader.dataset.unlabeled.ann_file
    options = split_options(cfg, 'instances_train2017.2@10')
    cfg.merge_from_dict(options)
    data = cfg.train_dataloader.dataset
    assert data.labeled.ann_file == ('semi_anns/instances_train2017.2@10.json')
    assert data.unlabeled.ann_file == before
    cfg = get_config('guided_distillation_coco_10p')
    assert split_options(cfg, 'instances_train2017.2@10')[
        'train_dataloader.dataset.unlabeled.ann_file'
    ].endswith('.2@10-unlabeled.json')


def test_split__absolute(tmp_path):
    cfg = get_config('sskd_distill_cityscapes_10p')
    assert set(split_options(cfg, f'{tmp_path}/x').values()) == {
        f'{tmp_path}/x.json',
        f'{tmp_path}/x-unlabeled.json',
    }


def test_split__bad_names(tmp_path):
    cfg = get_config('supervised_cityscapes_10p')
    with pytest.raises(ValueError, match=r'without \.json'):
        split_options(cfg, 'seed0@10.json')
    cfg.merge_from_dict(split_options(cfg, f'{tmp_path}/seed0@10'))
    with pytest.raises(FileNotFoundError, match=r'no split .*seed0@10\.json'):
        check_split(cfg)
    (tmp_path / 'seed0@10.json').touch()
    check_split(cfg)
    without = Config(dict(train_dataloader=dict(dataset=dict(type='X'))))
    with pytest.raises(ValueError, match='has no ann_file'):
        split_options(without, 'seed0@10')
