# SPDX-License-Identifier: Apache-2.0
"""Files of predictions beside the ground truth."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from s4m.datasets.coco_io import annotation, encode_masks
from s4m.evaluation import quality_of_file
from s4m.evaluation.file_quality import (
    compare_files,
    load_predictions,
    match_images,
)


def _coco(items, classes=('a', 'b')):
    """(image, class, box, score or None) as a COCO dictionary."""
    annotations = []
    for image, kind, (y0, y1, x0, x1), score in items:
        mask = np.zeros((1, 20, 40), bool)
        mask[0, y0:y1, x0:x1] = True
        (rle,) = encode_masks(mask)
        fields = {} if score is None else dict(score=score)
        fields['id'] = len(annotations) + 1
        annotations.append(annotation(image, kind, rle, **fields))
    return dict(
        images=[
            dict(id=i, file_name=f'{i}.png', height=20, width=40)
            for i in (1, 2)
        ],
        categories=[dict(id=i + 1, name=n) for i, n in enumerate(classes)],
        annotations=annotations,
    )


TRUTH = [
    (1, 1, (0, 10, 0, 10), None),
    (1, 2, (10, 20, 20, 40), None),
    (2, 2, (0, 10, 0, 20), None),
]


@pytest.fixture
def write(tmp_path):
    """Write a COCO dictionary; its path."""

    def call(name: str, data: dict):
        (tmp_path / f'{name}.json').write_text(json.dumps(data))
        return tmp_path / f'{name}.json'

    return call


def test_compare_files__hand_computed():
    """One exact, one of the wrong class with IoU 0.5, one missed."""
    found = _coco([(1, 1, (0, 10, 0, 10), 0.9), (1, 1, (10, 20, 20, 30), 0.8)])
    # Other ids of the same categories.
    found['categories'] = [dict(id=2, name='b'), dict(id=1, name='a')]
    comparison, errors = compare_files(found, _coco(TRUTH), {1: 1, 2: 2})
    figures = comparison.figures()
    assert figures['pseudo_labels'] == 2 and figures['per_image'] == 1
    assert figures['class_accuracy'] == 50
    assert figures['mask_iou'] == 75
    assert figures['confusion'] == [[1, 0], [1, 0], [0, 0]]
    assert figures['mask_ap'] == 50
    assert figures['per_class']['a']['mask_ap'] == 100
    assert figures['per_class']['b']['mask_ap'] == 0
    # Image 1: a wrong one and a missed one; image 2: a missed one.
    assert errors == {1: 2, 2: 1}


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (lambda d: d['annotations'][0].pop('score'), 'has no score'),
        (lambda d: d['annotations'][0].update(image_id=9), 'is of image 9'),
        (lambda d: d['annotations'][0].update(category_id=9), 'category 9'),
        (
            lambda d: d['annotations'][0]['segmentation'].update(
                size=[10, 80]
            ),
            'mask of 10 x 80 pixels, its image 1 is 20 x 40',
        ),
        (lambda d: d['images'].append(d['images'][0]), 'more than once'),
        (lambda d: d['images'][0].update(file_name='x'), 'has the image x'),
        (lambda d: d['categories'][0].update(name='x'), r"\['x'\]"),
        (lambda d: d['images'][1].update(height=2), 'is 2 x 40'),
        (lambda d: d.update(images=[], annotations=[]), 'has no image'),
    ],
)
def test_bad_predictions(write, change, word):
    found = _coco([(1, 1, (0, 10, 0, 10), 0.9)])
    change(found)
    file = write('found', found)
    with pytest.raises(ValueError, match=word):
        match_images(load_predictions(file), _coco(TRUTH), ('found', 'gt'))


def test_quality_of_file__pictures_of_the_worst(write, tmp_path):
    found = write('found', _coco([(1, 1, (0, 10, 0, 10), 0.9)]))
    gt = write('gt', _coco(TRUTH))
    for i in (1, 2):
        image = np.full((20, 40, 3), 128, np.uint8)
        cv2.imwrite(str(tmp_path / f'{i}.png'), image)
    figures, picture = quality_of_file(found, gt, image_root=tmp_path)
    assert figures['mask_iou'] == 100
    assert picture.shape == (2 * 256, 1024, 3)
    figures, picture = quality_of_file(found, gt)
    assert picture is None


def test_quality_of_file__nothing_predicted_and_nothing_annotated(write):
    """AP 0; a set without an instance is refused by its name."""
    gt = write('gt', _coco(TRUTH))
    none = write('none', _coco([]))
    figures, _ = quality_of_file(none, gt)
    assert figures['mask_ap'] == 0 and figures['pseudo_labels'] == 0
    found = write('found', _coco([(1, 1, (0, 10, 0, 10), 0.9)]))
    with pytest.raises(ValueError, match=r'none\.json has no instance'):
        quality_of_file(found, none)
