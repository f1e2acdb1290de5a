# SPDX-License-Identifier: Apache-2.0
"""Sets without an image or an instance are refused by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmdet.registry import DATASETS
from mmengine.runner import Runner
from s4m.datasets.coco_checks import (
    check_annotations,
    check_same_classes,
    empty_sets_named,
)


def _data(num_annotations: int = 0) -> dict:
    images = [dict(id=i, file_name='x.png', height=9, width=9) for i in (1, 2)]
    annotations = [
        dict(
            id=i + 1,
            image_id=1,
            category_id=1,
            bbox=[0, 0, 5, 5],
            area=25,
            iscrowd=0,
            segmentation=[[0, 0, 5, 0, 5, 5, 0, 5]],
        )
        for i in range(num_annotations)
    ]
    categories = [dict(id=1, name='cat')]
    return dict(images=images, annotations=annotations, categories=categories)


def _cfg(file: str, **options) -> dict:
    return (
        dict(
            type='CocoDataset',
            ann_file=file,
            metainfo=dict(classes=('cat',)),
            data_prefix=dict(img=''),
            pipeline=[],
            filter_cfg=dict(filter_empty_gt=True),
        )
        | options
    )


@pytest.mark.parametrize('wrapper', [None, 'RepeatDataset', 'ConcatDataset'])
def test_empty_set__of_any_type(coco_file, wrapper):
    cfg = _cfg(coco_file(_data(), 'empty.json'))
    if wrapper == 'RepeatDataset':
        cfg = dict(type=wrapper, dataset=cfg, times=2)
    elif wrapper:
        cfg = dict(type=wrapper, datasets=[cfg, cfg])
    message = r'training set .*empty\.json has no image with an instance.*cat'
    with (
        pytest.raises(ValueError, match=message),
        empty_sets_named('training'),
    ):
        DATASETS.build(cfg)


def test_empty_set__without_images(coco_file):
    file = coco_file(_data() | dict(images=[]), 'empty.json')
    for options in (dict(test_mode=True), dict(filter_cfg=None)):
        with (
            pytest.raises(ValueError, match=r'empty\.json has no image\.'),
            empty_sets_named(),
        ):
            DATASETS.build(_cfg(file, **options))


def test_other_errors__pass():
    with pytest.raises(ValueError, match=r'^at least one array$'):
        with empty_sets_named():
            raise ValueError('at least one array')


def test_instance__is_needed_where_it_trains(coco_file):
    for count in (0, 1):
        file = coco_file(_data(count), f'{count}.json')
        dataset = DATASETS.build(_cfg(file, filter_cfg=None))
        check_annotations(dataset, with_masks=True)
        if count:
            check_annotations(dataset, True, needs_instance=True)
            continue
        with pytest.raises(ValueError, match=r'0\.json has no instance .*cat'):
            check_annotations(dataset, True, needs_instance=True)


def test_same_classes__whatever_holds_them():
    sets = [
        SimpleNamespace(metainfo=dict(classes=classes))
        for classes in (('a', 'b'), ['a', 'b'], ['b', 'a'])
    ]
    check_same_classes(training=sets[0], validation=sets[1])
    with pytest.raises(ValueError, match='the validation set'):
        check_same_classes(training=sets[0], validation=sets[2])


def test_supervised_training__names_its_empty_set(
    shapes_config, shapes_root, coco_file
):
    """Not numpy's words, at the place where the runner builds its loader."""
    from s4m.datasets.coco_io import read_coco

    cfg = shapes_config('supervised_shapes_5p', iters=1)
    source = cfg.train_dataloader.dataset
    data = read_coco(f'{source.data_root}{source.ann_file}')
    source.ann_file = coco_file(data | dict(annotations=[]), 'empty.json')
    runner = Runner.from_cfg(cfg)
    with (
        pytest.raises(ValueError, match=r'empty\.json has no image with an'),
        empty_sets_named('training'),
    ):
        runner.train()
