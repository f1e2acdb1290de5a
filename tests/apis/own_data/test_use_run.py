# SPDX-License-Identifier: Apache-2.0
"""Predict, pre-label and evaluate with a network that sees colours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from color_runs import CLASSES, SIZE, draw, make_run
from pycocotools import mask as mask_utils
from s4m.apis.own_data import evaluate, label, predict
from s4m.datasets.formats import LabelledSet


@pytest.fixture
def run(tmp_path):
    """A trained run."""
    return make_run(tmp_path)


@pytest.fixture
def photos(tmp_path):
    """Two images of one name, and a broken one."""
    draw(tmp_path / 'p/one/a.png', ('red', 204, 2, 3, 10, 5))
    draw(
        tmp_path / 'p/two/a.png',
        ('green', 255, 40, 8, 6, 6),
        ('red', 102, 10, 10, 8, 8),
    )
    (tmp_path / 'p/two/b.png').write_text('broken')
    return tmp_path / 'p'


def _rectangle(x, y, w, h):
    mask = np.zeros(SIZE, np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def test_predict__broken_image_and_equal_names(run, photos, tmp_path):
    out = tmp_path / 'out'
    result = predict(run, photos, out=out, score_thr=0.5, device='cpu')
    assert result.broken == (photos / 'two/b.png',) and result.status == 1
    assert (result.images, result.instances) == (2, 2)
    pictures = sorted(p for p in result.pictures.rglob('*') if p.is_file())
    assert pictures == [out / 'vis/one/a.png', out / 'vis/two/a.png']
    assert pictures[0].read_bytes() != pictures[1].read_bytes()
    data = json.loads(result.predictions.read_text())
    first, second = data['annotations']
    assert mask_utils.decode(first['segmentation']).tolist() == (
        _rectangle(2, 3, 10, 5).tolist()
    )
    assert first['score'] == 0.8
    names = {c['id']: c['name'] for c in data['categories']}
    assert names[first['category_id']] == 'red'
    assert names[second['category_id']] == 'green'
    # Several patterns; a config and its weights in place of the run.
    pair = dict(config=run / 'model.py', checkpoint=run / 'model.pth')
    what = [f'{photos}/one/*.png', photos / 'two/a.png']
    again = predict(None, what, out=tmp_path / 'b', device='cpu', **pair)
    assert (again.instances, again.broken, again.status) == (3, (), 0)
    with pytest.raises(FileExistsError, match='--out'):
        predict(run, photos, out=out)
    with pytest.raises(ValueError, match='a run, or a config'):
        predict(run, photos, out=tmp_path / 'c', **pair)
    with pytest.raises(ValueError, match='1 of 1 files cannot be read'):
        predict(run, photos / 'two/b.png', out=tmp_path / 'c', device='cpu')


def test_networks__errors(run, photos, tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match='choose one of supervised'):
        predict(run, photos, out=out, network='student')
    (run / 'model.pth').unlink()
    for call in (predict, label):
        with pytest.raises(FileNotFoundError, match='no trained model yet'):
            call(run, photos, out=out)
    with pytest.raises(FileNotFoundError, match='is no run of s4m train'):
        label(photos, photos, out=out)


def test_label__coco_file_and_format(run, photos, tmp_path, monkeypatch):
    written = []

    def write(data, out, format, *, root):
        written.append((data, out, format, root))
        return out / 'file', ['a note']

    monkeypatch.setattr('s4m.apis.own_data.labelling.write_labels', write)
    monkeypatch.setattr(
        's4m.apis.own_data.labelling.FORMATS', ('coco', 'labelme')
    )
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match="'x' is unknown"):
        label(run, photos, out=out, format='x')
    with pytest.raises(ValueError, match='no SAM 2'):
        label(run, photos, out=out, refine=True)
    result = label(
        run, photos, out=out, format='labelme', score_thr=0.5, device='cpu'
    )
    assert result.broken == (photos / 'two/b.png',)
    assert (result.images, result.instances) == (2, 2)
    assert (result.network, result.refined) == ('supervised', False)
    assert result.for_tool == out / 'labelme/file'
    assert result.notes == ('a note',)
    data = json.loads(result.labels.read_text())
    assert [i['file_name'] for i in data['images']] == [
        'one/a.png',
        'two/a.png',
    ]
    assert [c['name'] for c in data['categories']] == CLASSES
    assert written == [(data, out / 'labelme', 'labelme', photos)]
    # Only the result is left.
    assert [p.name for p in out.iterdir()] == ['labels.json']
    with pytest.raises(FileExistsError, match=r'labels\.json exists'):
        label(run, photos, out=out)


def test_label__resumes(run, photos, tmp_path, monkeypatch):
    from s4m.apis import pseudo_label_file as parts

    out, add = tmp_path / 'out', parts.PseudoLabelParts.add
    seen = []

    def stop(self, rows):
        rows = list(rows)
        seen.extend(image for image, _ in rows)
        add(self, rows)
        if len(seen) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(parts.PseudoLabelParts, 'add', stop)
    with pytest.raises(KeyboardInterrupt):
        label(run, photos, out=out, device='cpu')
    assert label(run, photos, out=out, device='cpu').instances == 3
    assert seen == [1, 2]


def test_label__refined_by_the_runs_sam(photos, tmp_path):
    run = make_run(tmp_path / 'sam', sam=True)
    plain = label(run, photos, out=tmp_path / 'a', refine=False, device='cpu')
    result = label(run, photos, out=tmp_path / 'b', device='cpu')
    assert (plain.refined, result.refined) == (False, True)
    areas = [
        [a['area'] for a in json.loads(r.labels.read_text())['annotations']]
        for r in (plain, result)
    ]
    assert areas[0] != areas[1]


def test_evaluate__classes_by_name(run, tmp_path):
    folder = tmp_path / 'test'
    for k in range(2):
        draw(
            folder / f'{k}.png',
            ('red', 255, 2, 3, 10, 5),
            ('green', 255, 40, 8, 6, 6),
        )
    categories = [
        dict(id=4, name='apple'),
        dict(id=5, name='green'),
        dict(id=9, name='red'),
    ]
    # Red is right; the true green object is twice as large: IoU 1 / 2.
    boxes = {9: (2, 3, 10, 5), 5: (40, 8, 6, 12), 4: (0, 0, 4, 4)}
    annotations = [
        dict(
            id=len(boxes) * k + n,
            image_id=k + 1,
            category_id=kind,
            segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
            bbox=[x, y, w, h],
            area=w * h,
            iscrowd=0,
        )
        for k in range(2)
        for n, (kind, (x, y, w, h)) in enumerate(boxes.items(), 1)
    ]
    images = [
        dict(id=k + 1, file_name=f'{k}.png', height=SIZE[0], width=SIZE[1])
        for k in range(2)
    ]
    file = folder / 'labels.json'
    data = dict(images=images, annotations=annotations, categories=categories)
    file.write_text(json.dumps(data))
    result = evaluate(run, file, device='cpu')
    network = result.networks['supervised']
    assert (result.images, result.objects) == (2, 4)
    rows = [(c.name, c.images, c.objects) for c in network.classes]
    assert rows == [('red', 2, 2), ('green', 2, 2)]
    aps = [(c.ap, c.ap50) for c in network.classes]
    # Of the thresholds 0.5 to 0.95, 1 / 2 reaches the first alone.
    assert aps == [pytest.approx((100, 100)), pytest.approx((10, 100))]
    assert (network.ap, network.ap50) == pytest.approx((55, 100))
    assert any("2 objects of the class 'apple'" in n for n in result.notes)
    assert any("'blue' has no object" in note for note in result.notes)
    again = evaluate(run, file, network='supervised', device='cpu')
    assert again == result
    data['categories'] = [dict(c, name=f'my {c["name"]}') for c in categories]
    file.write_text(json.dumps(data))
    with pytest.raises(ValueError, match='no object of a class of'):
        evaluate(run, file)


def test_evaluate__image_that_cannot_be_decoded(run, tmp_path, monkeypatch):
    """An AP without some of the images would be another test set's."""
    for name in ('0.png', '1.png'):
        draw(tmp_path / name, ('red', 255, 2, 3, 10, 5))
    images = [
        dict(id=k + 1, file_name=f'{k}.png', height=SIZE[0], width=SIZE[1])
        for k in range(2)
    ]
    square = [[2, 3, 12, 3, 12, 8, 2, 8]]
    annotations = [
        dict(id=1, image_id=1, category_id=1, segmentation=square, iscrowd=0)
    ]
    categories = [dict(id=1, name='red')]
    labels = LabelledSet(images, annotations, categories, tmp_path, 'coco')
    monkeypatch.setattr(
        's4m.apis.own_data.evaluating.read_labels', lambda *_: labels
    )
    (tmp_path / '1.png').write_text('broken')
    with pytest.raises(ValueError, match=r'1 of 2 labelled images .*1\.png'):
        evaluate(run, 'labels.json', device='cpu')
