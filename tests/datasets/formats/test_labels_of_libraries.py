# SPDX-License-Identifier: Apache-2.0
"""Labels that other libraries wrote are read."""

from __future__ import annotations

import numpy as np
import pytest
from label_exports import MASKS, SIZE, image, iou, masks
from s4m.datasets.formats import read_labels

_NAMES = ('apple', 'pear', 'apple')


def _assert_read(labels, least: float = 0.98) -> None:
    """Compare the instances of the only image, in any order."""
    (found,) = masks(labels).values()
    assert len(found) == len(MASKS)
    for name, mask in zip(_NAMES, MASKS, strict=True):
        assert max(iou(m, mask) for n, m in found if n == name) >= least


@pytest.mark.parametrize(
    'format', ['cvat', 'coco_instances', 'voc_instance_segmentation']
)
def test_datumaro(tmp_path, format):
    dm = pytest.importorskip('datumaro')
    file = image(tmp_path / 'photos/ä 1.png')
    item = dm.DatasetItem(
        id='ä 1',
        subset='train',
        media=dm.Image.from_file(path=str(file), size=SIZE),
        annotations=[
            dm.Mask(mask, label=k % 2, id=k, group=k)
            for k, mask in enumerate(MASKS, 1)
        ],
    )
    # Labels count from 0, and the first mask is an apple.
    dataset = dm.Dataset.from_iterable([item], categories=['pear', 'apple'])
    out = tmp_path / 'out'
    dataset.export(str(out), format, save_media=True)
    source = out / 'annotations' if format == 'coco_instances' else out
    labels = read_labels(source)
    assert labels.format == format.partition('_')[0]
    _assert_read(labels)


@pytest.mark.parametrize('format', ['labelme', 'coco'])
def test_supervision(tmp_path, format):
    sv = pytest.importorskip('supervision')
    file = str(image(tmp_path / 'ä 1.png'))
    boxes = sv.mask_to_xyxy(np.stack(MASKS)).astype(float)
    kinds = np.array([0, 1, 0])
    found = sv.Detections(boxes, mask=np.stack(MASKS), class_id=kinds)
    dataset = sv.DetectionDataset(['apple', 'pear'], [file], {file: found})
    out = tmp_path / 'out'
    if format == 'labelme':
        dataset.as_labelme(str(tmp_path), str(out))
    else:
        dataset.as_coco(str(tmp_path), str(out / 'labels.json'))
    labels = read_labels(out, tmp_path)
    assert labels.format == format
    # Its outlines go through the middles of the pixels.
    _assert_read(labels, 0.92)
