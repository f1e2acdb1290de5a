# SPDX-License-Identifier: Apache-2.0
"""Labels written in each format, read again here and by other libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from label_exports import MASKS, NAMES, SIZE, image, iou, labelled, masks
from PIL import Image
from pycocotools.coco import COCO
from s4m.datasets.formats import (
    FORMATS,
    LabelledSet,
    read_labels,
    write_labels,
)
from s4m.datasets.formats.polygons import decode


@pytest.fixture
def labels(tmp_path) -> LabelledSet:
    return labelled(tmp_path / 'photos')


def _assert_close(found, wanted, least: float = 0.97) -> None:
    """Compare (class, mask) pairs in any order."""
    assert len(found) == len(wanted)
    for name, mask in wanted:
        best = max(iou(mask, m) for n, m in found if n == name)
        assert best >= least, name


@pytest.mark.parametrize('format', FORMATS)
def test_round_trip(labels, tmp_path, format):
    written = write_labels(labels, tmp_path / 'out', format)
    assert written.notes == []
    # These two have the images with them.
    images = None if format in ('yolo', 'voc') else labels.root
    found = read_labels(written.path, images)
    assert found.format == format
    assert {c['name'] for c in found.categories} == {'red apple', 'Birne'}
    drawn, wanted = masks(found), masks(labels)
    below = 'images/train/' if format == 'yolo' else ''
    assert set(drawn) == {below + name for name in NAMES}
    for name in NAMES:
        _assert_close(drawn[below + name], wanted[name])
    if format not in ('labelme', 'labelstudio'):  # sorted by name
        assert found.categories == labels.categories
    assert not list(tmp_path.rglob('*.partial'))


def test_polygons__stay_what_they_are(labels, tmp_path):
    """Labels drawn by hand do not gain points on their way."""
    triangle = labels.annotations[3]['segmentation']
    for format in FORMATS[:-1]:
        written = write_labels(labels, tmp_path / format, format)
        images = None if format == 'yolo' else labels.root
        found = read_labels(written.path, images)
        (got,) = (
            a['segmentation'] for a in found.annotations if a['image_id'] == 2
        )
        np.testing.assert_allclose(got, triangle, atol=0.01)


def test_scores_and_crowds__are_kept_or_named(labels, tmp_path):
    labels.annotations[0]['score'] = 0.75
    labels.annotations[3]['iscrowd'] = 1
    written = write_labels(labels, tmp_path / 'a.json', 'coco')
    assert written.path == tmp_path / 'a.json' and not written.notes
    data = json.loads(written.path.read_text())
    assert data['annotations'][0]['score'] == 0.75
    for format in ('labelme', 'yolo', 'cvat', 'via', 'voc'):
        notes = write_labels(labels, tmp_path / format, format).notes
        assert notes == ['crowds left out: 1', 'scores left out: 1']
    written = write_labels(labels, tmp_path / 'tasks.json', 'labelstudio')
    assert written.notes == ['crowds left out: 1']
    scored, empty, _ = json.loads(written.path.read_text())
    assert scored['predictions'][0]['result'][0]['score'] == 0.75
    assert empty['annotations'] == [dict(result=[])]


def test_voc__covered_objects_are_named(labels, tmp_path):
    entry = labels.annotations[0]
    labels.annotations.append(dict(entry, id=9))
    notes = write_labels(labels, tmp_path / 'voc', 'voc').notes
    assert notes == ['objects that others cover: 1']


def test_dictionary__with_paths(labels, tmp_path, monkeypatch):
    """What `s4m.apis.inference.infer` writes: names with their folders."""
    data = labels.to_coco()
    for info in data['images']:
        info['file_name'] = f'photos/{info["file_name"]}'
    data['images'][0]['file_name'] = str(tmp_path / 'photos' / NAMES[0])
    monkeypatch.chdir(tmp_path)
    written = write_labels(data, 'labels', 'labelme')
    files = {p.relative_to('labels') for p in written.path.rglob('*.json')}
    wanted = {Path('photos', name).with_suffix('.json') for name in NAMES}
    assert files == wanted
    assert len(read_labels('labels').annotations) == 4


@pytest.mark.parametrize('format', FORMATS)
def test_existing_files__are_not_overwritten(labels, tmp_path, format):
    write_labels(labels, tmp_path / 'out', format)
    with pytest.raises(FileExistsError, match='exists already'):
        write_labels(labels, tmp_path / 'out', format)


def test_write__what_a_format_cannot_hold(labels, tmp_path):
    with pytest.raises(ValueError, match="'cococo' is unknown: choose one of"):
        write_labels(labels, tmp_path / 'out', 'cococo')
    labels.images[1]['file_name'] = 'front/ä 1.bmp'
    for format in ('labelme', 'yolo', 'voc'):
        with pytest.raises(ValueError, match=r'2 images would have the file'):
            write_labels(labels, tmp_path / 'out', format)
    (tmp_path / 'file').write_text('')
    with pytest.raises(FileExistsError, match='is a file; yolo is written'):
        write_labels(labels, tmp_path / 'file', 'yolo')
    labels.images[1]['file_name'] = NAMES[1]
    labels.annotations *= 85
    with pytest.raises(ValueError, match='has 255 objects: VOC has'):
        write_labels(labels, tmp_path / 'voc', 'voc')


def test_images__linked_or_copied(labels, tmp_path, monkeypatch):
    """A hard link takes no space; another disk needs a copy."""
    one = write_labels(labels, tmp_path / 'one', 'yolo').path
    place = Path('images/train', NAMES[0])
    assert (one / place).samefile(labels.root / NAMES[0])

    def refuse(*args) -> None:
        raise OSError('Invalid cross-device link')

    monkeypatch.setattr('os.link', refuse)
    two = write_labels(labels, tmp_path / 'two', 'yolo').path
    assert not (two / place).samefile(labels.root / NAMES[0])
    assert (two / place).read_bytes() == (one / place).read_bytes()


# ------------------------------------------------------------ other libraries
def test_coco__read_by_pycocotools(labels, tmp_path):
    written = write_labels(labels, tmp_path / 'out', 'coco')
    coco = COCO(str(written.path))
    for entry in coco.anns.values():
        mask = coco.annToMask(entry).astype(bool)
        wanted = labels.annotations[entry['id'] - 1]['segmentation']
        np.testing.assert_array_equal(mask, decode(wanted, SIZE))


#: Libraries that draw polygons with OpenCV make them half a pixel wider on
#: all sides: the radii here are about 20 pixels.
_OPENCV = 0.92


def _supervision(dataset) -> dict[str, list[tuple[str, np.ndarray]]]:
    return {
        path: [
            (dataset.classes[k], mask)
            for k, mask in zip(found.class_id, found.mask, strict=True)
        ]
        for path, _, found in dataset
        if len(found)
    }


@pytest.mark.parametrize('format', ['labelme', 'yolo'])
def test_labelme_and_yolo__read_by_supervision(labels, tmp_path, format):
    """It reads one folder without sub-folders, and no mask of labelme."""
    sv = pytest.importorskip('supervision')
    written = write_labels(labels, tmp_path / 'out', format)
    wanted = masks(labels)
    for name in NAMES[:2]:
        folder = Path(name).parent
        if format == 'labelme':
            dataset = sv.DetectionDataset.from_labelme(
                str(labels.root / folder),
                str(written.path / folder),
                force_masks=True,
            )
            kept = wanted[name][:1] + wanted[name][2:]
        else:
            dataset = sv.DetectionDataset.from_yolo(
                str(written.path / 'images/train' / folder),
                str(written.path / 'labels/train' / folder),
                str(written.path / 'data.yaml'),
                force_masks=True,
            )
            kept = wanted[name]
        (found,) = _supervision(dataset).values()
        _assert_close(found, kept, _OPENCV)


def _datumaro(dm, folder, format) -> dict[str, list[tuple[str, np.ndarray]]]:
    dataset = dm.Dataset.import_from(str(folder), format)
    names = dataset.categories()[dm.AnnotationType.label]
    found: dict[str, list[tuple[str, np.ndarray]]] = {}
    for item in dataset:
        found[item.id] = []
        for a in item.annotations:
            if a.type == dm.AnnotationType.polygon:
                mask = decode([[float(v) for v in a.points]], SIZE)
            elif a.type == dm.AnnotationType.mask:
                mask = np.asarray(a.image, bool)
            else:
                continue
            found[item.id].append((names[a.label].name, mask))
    return found


def test_cvat_and_voc__read_by_datumaro(labels, tmp_path):
    dm = pytest.importorskip('datumaro')
    wanted = masks(labels)
    write_labels(labels, tmp_path / 'cvat', 'cvat')
    for name in NAMES:  # it wants them beside the file
        image(tmp_path / 'cvat/images' / name)
    write_labels(labels, tmp_path / 'voc', 'voc')
    cvat = _datumaro(dm, tmp_path / 'cvat', 'cvat')
    voc = _datumaro(dm, tmp_path / 'voc', 'voc_instance_segmentation')
    for name in NAMES:
        stem = Path(name).with_suffix('').as_posix()
        _assert_close(cvat[stem], wanted[name])
        _assert_close(voc[stem], wanted[name], 1)


def test_voc__pictures_have_palettes(labels, tmp_path):
    """Objects are numbers, and every viewer shows them in VOC's colours."""
    written = write_labels(labels, tmp_path / 'voc', 'voc')
    stem = Path(NAMES[0]).with_suffix('.png')
    picture = Image.open(written.path / 'SegmentationObject' / stem)
    assert picture.mode == 'P'
    numbers = np.asarray(picture)
    for number, mask in enumerate(MASKS, 1):
        np.testing.assert_array_equal(numbers == number, mask)
    colours = np.asarray(picture.convert('RGB'))
    assert colours[MASKS[1]].tolist() == [[0, 128, 0]] * int(MASKS[1].sum())
