# SPDX-License-Identifier: Apache-2.0
"""What the page of a run is made from."""

from __future__ import annotations

import numpy as np
from own_runs import APPLE, LABELS, NAMES, SIZE, box, coco
from s4m.apis.own_data.label_doubts import find_doubts, match_all
from s4m.apis.own_data.report_pictures import choose_examples
from s4m.apis.own_data.report_tables import (
    class_sentences,
    confusion_view,
    stage_table,
)
from s4m.datasets.coco_io import annotation, encode_masks


def test_doubts__parts_of_a_label_are_none():
    """A prediction inside a label, and one of another threshold."""
    label = box(1, APPLE, 4, 4)
    half = np.zeros((1, *SIZE), bool)
    half[0, 4:8, 4:14] = True
    part = annotation(1, APPLE, encode_masks(half)[0], score=0.9)
    truth, found = coco(['a.png'], [label]), coco(['a.png'], [part])
    doubts = find_doubts(match_all(truth, found))
    assert [d.kind for d in doubts] == ['missed']
    found = coco(['a.png'], [dict(label, score=0.06)])
    assert find_doubts(match_all(truth, found)) == []


def test_choose_examples__each_image_once():
    class Matches:
        def __init__(self, value):
            self.value = value

        def f1(self, score_thr):
            return self.value

    matches = [({}, Matches(v)) for v in (0.5, 0.9, 0.1, 0.3)]
    chosen = choose_examples(matches, 0.3)
    assert (chosen['best'], chosen['worst']) == ([1], [2])
    assert chosen['random'] in ([0], [3])
    assert choose_examples(matches[:1], 0.3) == dict(
        best=[0], worst=[], random=[]
    )
    many = choose_examples(matches * 5, 0.3)
    assert len({*many['best'], *many['worst'], *many['random']}) == 9


def test_confusion__of_many_classes_is_a_list():
    names = [f'class {i}' for i in range(30)]
    matrix = np.zeros((31, 31), int)
    matrix[np.arange(30), np.arange(30)] = 5
    matrix[2, 7], matrix[4, 1] = 3, 4
    view = confusion_view(matrix, names)
    assert view.cells == [] and view.largest == [
        '4 of 9 objects of class 4 are predicted as class 1',
        '3 of 8 objects of class 2 are predicted as class 7',
    ]


def test_classes__few_labels_and_no_validation_object():
    labeled = coco(['a.png'], [box(1, APPLE, 4, 4)] * 12 + [LABELS[1]])
    validation = coco(['b.png'], [box(1, APPLE, 4, 4)])
    sentences = class_sentences(labeled, validation, None, {NAMES[0]: 3.0})
    assert sentences == [
        'Fewer than 10 labelled objects: Birne ü (1).',
        'No validation image shows Birne ü: the AP of these classes is not '
        'known.',
    ]


def test_stages__without_a_log(tmp_path):
    table = stage_table({}, dict(supervised=tmp_path))
    assert table.rows == [['supervised', '-', '0 s', '-']]
