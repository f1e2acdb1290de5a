# SPDX-License-Identifier: Apache-2.0
"""The page of a run on a person's own images."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from own_runs import APPLE, NAMES, PEAR, HandMadeRun, box, coco, write
from s4m.apis.own_data import report_data, report_tables
from s4m.apis.own_data.report import report
from s4m.utils.digests import file_digest


@pytest.fixture
def run(tmp_path, monkeypatch):
    def generate(self, out):
        raise AssertionError(f'{out} would be predicted again')

    monkeypatch.setattr(report_data.PseudoLabelGenerator, 'generate', generate)
    return HandMadeRun(tmp_path / 'my apples')


class Tables(HTMLParser):
    """Collects the cells of all tables, and the tags that stay open."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.text, self.open = [], None, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in ('meta', 'img', 'path', 'circle', 'polyline'):
            self.open.append(tag)
        if tag == 'tr':
            self.rows.append([])
        if tag in ('td', 'th'):
            self.text = ''

    def handle_endtag(self, tag):
        if tag not in ('path', 'circle', 'polyline'):
            assert self.open.pop() == tag
        if tag in ('td', 'th'):
            self.rows[-1].append(self.text)
            self.text = None

    def handle_data(self, data):
        if self.text is not None:
            self.text += data


def rows_of(page):
    parser = Tables(page)
    assert parser.open == []
    return parser.rows


def check_alone(page):
    """No script, no address of a server, no file beside the page."""
    assert '<script' not in page and 'http' not in page
    assert 'url(' not in page and '@import' not in page
    for source in re.findall(r'(?:src|href)="([^"]{1,20})', page):
        assert source.startswith(('data:image/webp;base', '#')), source


def test_page__of_a_student(run):
    run.add_student()
    run.add_validation()
    page = run.page()
    check_alone(page)
    rows = rows_of(page)
    assert ['student', '50.0', '61.3', '-', '+30.0'] in rows
    assert ['teacher', '25.0', '61.3', '-', '+5.0'] in rows
    assert ['supervised', '20.0', '61.3', '-', ''] in rows
    # AP of the three networks, labelled, to validate, pseudo-labels: the
    # precision of the apples is 1 up to both, the pear is at no pear.
    assert [NAMES[0], '0.0', '0.0', '100.0', '2', '2', '1'] in rows
    assert [NAMES[1], '0.0', '0.0', '0.0', '2', '2', '0'] in rows
    # The confusion: found, taken for another, missed, where nothing is.
    assert [NAMES[0], '2', '0', '0'] in rows
    assert [NAMES[1], '1', '0', '1'] in rows
    assert ['no object', '0', '1', ''] in rows
    assert ['student', '45', '2.0 h', '0.50 s', '2.0 GiB'] in rows
    for sentence in (
        'mask AP 50.0 on 3 validation',
        '3 validation images: with so few',
        'AP of student has fallen since its best value, 3 validations ago '
        '(30.0 -&gt; 28.0 -&gt; 25.0 -&gt; 20.0).',
        'No pseudo-label of the class Birne ü',
        '1 unlabelled image of 2 without a pseudo-label',
        'AP 0: Birne ü.',
        # v1: 1 of 2 is right; v2: 1 and one too much; v3: nothing.
        'v1.png · F1 0.50',
        'v2.png · F1 0.67',
        'v3 &lt;i&gt;.png · F1 0.00',
        's4m suggest ',
        's4m predict ',
    ):
        assert sentence in page, sentence
    # Best, worst, random; two pictures each. An image and its pseudo-labels.
    assert page.count('<div class="panels two">') == 3 + 1
    assert page.count('F1,\n0.67, would need <code>--score-thr 0.90<') == 1


def test_page__of_many_classes_is_folded(run, monkeypatch):
    monkeypatch.setattr(report_tables, 'FOLDED', 1)
    run.add_validation()
    page = run.page()
    assert '<details><summary>Objects and AP of 2 classes' in page
    assert 'class="confusion"' not in page
    taken = '1 of 2 objects of Birne ü are predicted as apple'
    assert f'<li>{taken} &lt;b&gt;&amp;</li>' in page


def test_page__escapes_what_people_write(run):
    run.add_student()
    run.add_validation()
    page = run.page()
    assert 'apple &lt;b&gt;&amp;' in page and '<b>&' not in page
    assert '&lt;script&gt;alert(1)' in page and 'for a &amp; b' in page
    assert 's4m label &#39;' in page  # a folder with a space
    assert '<title>my apples</title>' in page


def test_page__labels_that_look_wrong(run):
    page = run.page()
    thumbs = re.findall(r'<figcaption><b>(.*?)</b>(.*?)</figcaption>', page)
    assert thumbs == [
        ('label Birne ü, predicted apple &lt;b&gt;&amp; 0.85', 'l1.png'),
        ('no label, predicted apple &lt;b&gt;&amp; 0.80', 'l1.png'),
        ('label Birne ü, nothing predicted', 'l2.png'),
    ]
    assert 'In 2 labelled images the network contradicts\n3 labels' in page


def test_page__supervised_without_validation(run):
    page = run.page()
    check_alone(page)
    rows = rows_of(page)
    assert ['class', 'labelled'] in rows and [NAMES[0], '2'] in rows
    assert ['supervised', '-', '2.5 min', '-'] in rows
    assert 'There are no validation images' in page
    assert 'so no AP was measured' in page
    for word in ('id="predictions"', 'id="pseudo-labels"', 'id="curves"'):
        assert word not in page


def test_page__supervised_alone(run):
    run.add_validation()
    rows = rows_of(run.page())
    assert ['network', 'AP', 'AP50', 'AP75'] in rows
    assert ['supervised', '20.0', '61.3', '-'] in rows


def test_page__images_that_are_gone(run):
    run.add_validation()
    for image in run.images.iterdir():
        image.unlink()
    page = run.page()
    assert 'v1.png · F1 0.50: the image is no longer there' in page
    assert '<img' not in page


def test_page__before_and_after_refinement(run):
    """A removed label has no picture; the others keep their colours."""
    run.config += "model['refiner'] = dict(type='PseudoLabelRefiner')\n"
    (run.path / 'config.py').write_text(run.config)
    run.add_student()
    before = [
        dict(box(1, kind, x, 4, score=0.8), position=i)
        for i, (kind, x) in enumerate([(APPLE, 4), (PEAR, 20), (PEAR, 40)])
    ]
    image = coco(['u1.png'], [])['images'][0]
    row = dict(image=image, before=before, after=[before[2], before[0]])
    info = dict(
        checkpoint_sha256=file_digest(run.path / 'stages/student/iter_9.pth'),
        images=['u1.png'],
    )
    write(run.data / 'predictions_refined.json', dict(info=info, rows=[row]))
    page = run.page()
    assert 'before (3)' in page and 'refined (2)' in page
    marks = re.findall(r'class="mark" style="(.*?)">(.*?)</span>', page)
    colors = [style[-7:] for style, _ in marks]
    apple, pear = 'apple &lt;b&gt;&amp;', NAMES[1]
    assert [name for _, name in marks] == [apple, pear, pear, pear, apple]
    assert len(set(colors[:3])) == 3
    assert colors[3:] == [colors[2], colors[0]]
    chips = re.findall(r'background:(#\w+)"></i>(.*?)</span>', page)
    assert chips == [
        (color, f'{name} 0.80')
        for color, name in zip(colors, (apple, pear, pear), strict=False)
    ]


def test_report__unfinished_and_no_run(run, tmp_path):
    del run.info['best']
    write(run.path / 'run.json', run.info)
    with pytest.raises(ValueError, match='is not finished: s4m train --out'):
        report(run.path)
    with pytest.raises(FileNotFoundError, match='is no run of s4m train'):
        report(tmp_path)


def test_predictions__of_other_weights_are_made_again(run):
    run.page()
    (run.path / 'stages/supervised/iter_9.pth').write_text('others')
    with pytest.raises(AssertionError, match=r'predictions_labeled\.json'):
        report(run.path)


def test_predictions__of_some_of_many_labelled_images(run, monkeypatch):
    monkeypatch.setattr(report_data, 'MAX_CHECKED', 1)
    with pytest.raises(AssertionError, match='predicted again'):
        run.page()
    chosen = json.loads((run.data / 'labeled_checked.json').read_text())
    assert [i['file_name'] for i in chosen['images']] == ['l1.png']
