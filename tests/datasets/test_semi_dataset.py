# SPDX-License-Identifier: Apache-2.0
"""SemiDataset: seeded draws and bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from s4m.datasets import DrawIndex


@pytest.fixture
def dataset_cfg(shapes_config):
    return shapes_config(
        'guided_distillation_shapes_5p'
    ).train_dataloader.dataset


def test_getitem__depends_on_the_draw_alone(dataset_cfg):
    dataset = DATASETS.build(dataset_cfg)
    index = len(dataset) - 1
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = dataset[DrawIndex(index, (0, 0, 5))]
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()
    np.random.seed(77)
    again = dataset[DrawIndex(index, (0, 0, 5))]
    other = dataset[DrawIndex(index, (0, 0, 6))]
    a, b, c = (
        item['inputs']['unsup_teacher'] for item in (first, again, other)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_annotations__are_one_buffer_that_workers_share(dataset_cfg):
    """MMEngine serialises them; a list would be copied by each worker."""
    for part in DATASETS.build(dataset_cfg).datasets:
        assert part.serialize_data and not part.data_list
        assert part.data_bytes.dtype == np.uint8
        assert len(part.data_address) == len(part)


def test_labelled_sample__drops_its_annotations(dataset_cfg):
    """``MultiBranch`` would copy each number of each polygon."""
    labelled = DATASETS.build(dataset_cfg).datasets[0]
    results = labelled.get_data_info(0)
    for step in labelled.pipeline.transforms[:2]:
        results = step(results)
    assert 'instances' not in results and len(results['gt_masks']) > 0


def test_unlabelled_views__same_pixels_other_colours(dataset_cfg):
    dataset = DATASETS.build(dataset_cfg)
    item = dataset[DrawIndex(len(dataset) - 1, (0, 0, 8))]
    teacher = item['data_samples']['unsup_teacher']
    student = item['data_samples']['unsup_student']
    assert item['inputs']['sup'] is None
    assert teacher.img_shape == student.img_shape
    np.testing.assert_array_equal(
        teacher.homography_matrix
        if 'homography_matrix' in teacher
        else teacher.scale_factor,
        student.homography_matrix
        if 'homography_matrix' in student
        else student.scale_factor,
    )
    assert len(teacher.gt_instances) == 0


def _edit(path: str, change) -> None:
    with open(path) as f:
        data = json.load(f)
    change(data)
    with open(path, 'w') as f:
        json.dump(data, f)


@pytest.fixture
def files(dataset_cfg, tmp_path):
    """Copies of both annotation files that a test may break."""
    paths = {}
    for part in ('labeled', 'unlabeled'):
        cfg = dataset_cfg[part]
        source = f'{cfg.data_root}{cfg.ann_file}'
        paths[part] = str(tmp_path / f'{part}.json')
        with open(source) as f, open(paths[part], 'w') as g:
            g.write(f.read())
        cfg.ann_file = paths[part]
    return paths


def test_empty_labelled_set(dataset_cfg, files):
    _edit(files['labeled'], lambda d: d.update(annotations=[]))
    with pytest.raises(ValueError, match=r'labelled set .* has no image'):
        DATASETS.build(dataset_cfg)


def test_unlabelled_set_without_images(dataset_cfg, files):
    _edit(files['unlabeled'], lambda d: d.update(images=[]))
    with pytest.raises(ValueError, match=r'unlabelled set .* has no image'):
        DATASETS.build(dataset_cfg)


def test_unknown_category(dataset_cfg, files):
    def rename(data):
        data['categories'][0]['name'] = 'pedestrian'

    _edit(files['labeled'], rename)
    with pytest.raises(ValueError, match=r"\['person'\].*pedestrian"):
        DATASETS.build(dataset_cfg)


def _swap(data):
    data['categories'].insert(0, data['categories'].pop(1))


def _no_mask(data):
    data['annotations'][2].update(segmentation=[], id=77)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_swap, r"order \['rider', 'person'"),
        (
            lambda d: d['images'].append(d['images'][0]),
            '1 image ids more than once',
        ),
        (_no_mask, 'annotation 77 of image .* has no segmentation'),
        (
            lambda d: d['annotations'][0].update(image_id=999),
            'is of image 999, which is unknown',
        ),
        (
            lambda d: d['annotations'][0].update(category_id=999),
            'is of category 999, which is unknown',
        ),
        (
            lambda d: d['annotations'][0]['segmentation'].update(size=[9, 8]),
            r'a mask of 9 x 8 pixels, its image \d+ is 64 x 128',
        ),
    ],
)
def test_annotations__that_would_be_misread(
    dataset_cfg, files, change, message
):
    _edit(files['labeled'], change)
    with pytest.raises(ValueError, match=message):
        DATASETS.build(dataset_cfg)


def test_classes__of_both_sets_must_agree(dataset_cfg):
    dataset_cfg['unlabeled']['metainfo'] = dict(classes=('person', 'rider'))
    with pytest.raises(ValueError, match='the unlabelled set'):
        DATASETS.build(dataset_cfg)


def test_classes__as_a_list_and_a_tuple_are_the_same(dataset_cfg):
    classes = DATASETS.build(dataset_cfg.labeled).metainfo['classes']
    dataset_cfg.labeled.metainfo = dict(classes=tuple(classes))
    dataset_cfg.unlabeled.metainfo = dict(classes=list(classes))
    dataset = DATASETS.build(dataset_cfg)
    assert list(dataset.metainfo['classes']) == list(classes)


def test_overlap__is_allowed_and_logged(dataset_cfg, monkeypatch):
    said = []
    monkeypatch.setattr(
        's4m.datasets.semi_dataset.print_log',
        lambda text, **_: said.append(text),
    )
    DATASETS.build(dataset_cfg)
    (text,) = said
    assert text.endswith('12 unlabelled images, 4 of them in both sets')


def test_unreadable_image(dataset_cfg, files, tmp_path):
    def point_elsewhere(data):
        data['images'] = data['images'][:1]
        data['images'][0]['file_name'] = 'none/none_leftImg8bit.png'

    _edit(files['unlabeled'], point_elsewhere)
    dataset = DATASETS.build(dataset_cfg)
    with pytest.raises(FileNotFoundError, match='none_leftImg8bit'):
        dataset[len(dataset) - 1]


def test_pseudo_labels__are_checked_as_labels_are(dataset_cfg, files):
    """Where the unlabelled part reads its annotations."""

    def label(data):
        image = data['images'][0]
        category = data['categories'][0]['id']
        data['annotations'] = [
            dict(
                id=5,
                image_id=image['id'],
                category_id=category,
                bbox=[0, 0, 9, 9],
                area=81,
                iscrowd=0,
                score=0.5,
            )
        ]

    _edit(files['unlabeled'], label)
    DATASETS.build(dataset_cfg)  # nobody reads them
    steps = dataset_cfg.unlabeled.pipeline
    (index,) = (
        i for i, s in enumerate(steps) if s.type == 'LoadEmptyAnnotations'
    )
    for name in ('LoadAnnotations', 'LoadLazyAnnotations'):
        steps[index] = dict(type=name, with_mask=True)
        with pytest.raises(ValueError, match=r'annotation 5 .* no segment'):
            DATASETS.build(dataset_cfg)

    _edit(files['unlabeled'], lambda d: d.update(annotations=[]))
    with pytest.raises(ValueError, match=r'unlabeled\.json has no instance'):
        DATASETS.build(dataset_cfg)
