# SPDX-License-Identifier: Apache-2.0
"""Suggestions of a network that sees colours."""

from __future__ import annotations

import csv
import json

import cv2
import pytest
from color_runs import draw, make_run
from s4m.apis.own_data import suggest


@pytest.fixture
def photos(tmp_path):
    """Images that differ in what their labels would teach."""
    folder = tmp_path / 'images'
    draw(folder / 'sure.png', ('red', 255, 2, 3, 10, 5))
    draw(folder / 'unsure.png', ('red', 128, 2, 20, 30, 5))
    draw(folder / 'unsure_again.png', ('red', 128, 2, 20, 30, 5))
    draw(folder / 'rare.png', ('green', 255, 40, 8, 20, 20))
    draw(folder / 'one_view.png', ('blue', 255, 2, 8, 20, 20))
    draw(folder / 'labelled.png', ('red', 255, 30, 3, 10, 5))
    draw(folder / 'nothing.png')
    (folder / 'broken.png').write_text('broken')
    return folder


def test_suggest__terms_files_and_no_duplicates(photos, tmp_path):
    run = make_run(tmp_path, ['labelled.png'])
    out = tmp_path / 'out'
    result = suggest(run, photos, num=4, out=out, batch_size=3, device='cpu')
    names = [s.file.name for s in result.chosen]
    assert len(set(names)) == 4 and 'labelled.png' not in names
    assert len({'unsure.png', 'unsure_again.png'} & set(names)) == 1
    assert {'rare.png', 'one_view.png'} <= set(names)
    assert [f.name for f in result.broken] == ['broken.png']
    assert any('1 images have labels' in note for note in result.notes)
    assert any('no SAM 2' in note for note in result.notes)
    terms = {s.file.name: s.terms for s in result.chosen}
    # 8 red objects are labelled, 1 green one and no blue one.
    assert terms['rare.png'] == pytest.approx(
        dict(uncertainty=0, views=0, rare=1 - 1 / 8), abs=1e-6
    )
    # The mirror image shows nothing: x = 1 / 2.
    assert terms['one_view.png'] == pytest.approx(
        dict(uncertainty=0, views=1 / 3, rare=1), abs=1e-6
    )
    (unsure,) = (n for n in names if n.startswith('unsure'))
    s = 128 / 255
    assert terms[unsure]['uncertainty'] == pytest.approx(
        s * (1 - s) / (1 + s * (1 - s))
    )
    for s in result.chosen:
        assert s.score == pytest.approx(s.value * s.spread, abs=1e-5)
    rows = list(csv.DictReader(result.list.open()))
    assert [row['file'] for row in rows] == [
        str(s.file) for s in result.chosen
    ]
    assert float(rows[0]['score']) == pytest.approx(
        result.chosen[0].score, abs=1e-4
    )
    labels = json.loads((out / 'prelabels.json').read_text())
    assert sorted(i['file_name'] for i in labels['images']) == sorted(names)
    sheet = cv2.imread(str(result.contact_sheet))
    # Four cells of 306 pixels; the first one shows its image's colour.
    assert sheet.shape == (178, 4 * 306, 3)
    color = {'rare.png': 1, 'one_view.png': 0}.get(names[0], 2)
    assert sheet[30:, :300, color].max() > 90
    assert sorted(p.name for p in out.iterdir()) == [
        'contact_sheet.jpg',
        'list.csv',
        'prelabels.json',
    ]


def test_suggest__sam_is_asked_once_an_image(photos, tmp_path):
    run = make_run(tmp_path / 'sam', sam=True)
    result = suggest(
        run,
        [photos / 'sure.png', photos / 'rare.png'],
        num=2,
        out=tmp_path / 'out',
        device='cpu',
    )
    for s in result.chosen:
        assert list(s.terms) == ['uncertainty', 'views', 'sam', 'rare']
        assert 0 <= s.terms['sam'] < 0.5  # one object: x is at most 1
    assert result.prelabels.refined
    assert not any('SAM' in note for note in result.notes)


def test_suggest__bad_input(photos, tmp_path):
    run = make_run(tmp_path, ['labelled.png'])
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match='--num 20: there are 7 unlabelled'):
        suggest(run, photos, out=out)
    with pytest.raises(ValueError, match='--num 7: there are 6'):
        suggest(run, photos, num=7, out=out, device='cpu')
    with pytest.raises(ValueError, match='at least 1'):
        suggest(run, photos, num=0, out=out)
    with pytest.raises(ValueError, match='1 of 1 files cannot'):
        suggest(run, photos / 'broken.png', num=1, out=out, device='cpu')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='No image'):
        suggest(run, tmp_path / 'empty', out=out)
    with pytest.raises(ValueError, match='no network'):
        suggest(run, photos, out=out, network='best')
    assert not out.exists()
    draw(out / 'a.png')
    with pytest.raises(FileExistsError, match='--out'):
        suggest(run, photos, out=out)
