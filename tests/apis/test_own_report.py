# SPDX-License-Identifier: Apache-2.0
"""The page of a run on a person's own images."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from s4m.apis.own_data import report_data, report_tables
from s4m.apis.own_data.label_doubts import find_doubts, match_all
from s4m.apis.own_data.report import report
from s4m.apis.own_data.report_pictures import choose_examples
from s4m.apis.own_data.report_tables import (
    class_sentences,
    confusion_view,
    stage_table,
)
from s4m.datasets.coco_io import annotation, encode_masks
from s4m.utils.digests import file_digest

APPLE, PEAR = 3, 5
NAMES = ('apple <b>&', 'Birne ü')
KINDS = [dict(id=APPLE, name=NAMES[0]), dict(id=PEAR, name=NAMES[1])]
SIZE = 48, 64
CONFIG = """
labeled_images = unlabeled_images = {images!r}
model = dict(type='SemiInstanceSegmentor')
test_dataloader = dict(dataset=dict(data_prefix=dict(img={images!r})))
test_evaluator = dict(max_dets=100)
"""


def box(image, kind, x, y, **fields):
    """A square of 10 x 10 pixels."""
    mask = np.zeros((1, *SIZE), bool)
    mask[0, y : y + 10, x : x + 10] = True
    return annotation(image, kind, encode_masks(mask)[0], **fields)


def coco(names, annotations, **others):
    images = [
        dict(id=i, file_name=name, height=SIZE[0], width=SIZE[1])
        for i, name in enumerate(names, 1)
    ]
    entries = [dict(a, id=n) for n, a in enumerate(annotations, 1)]
    return dict(others, images=images, annotations=entries, categories=KINDS)


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


VAL = ['v1.png', 'v2.png', 'v3 <i>.png']
#: Two apples and two pears.
TRUTH = [
    box(1, APPLE, 4, 4),
    box(1, PEAR, 30, 4),
    box(2, APPLE, 4, 4),
    box(3, PEAR, 30, 30),
]
#: Both apples, a pear as an apple, and a pear where there is none.
FOUND = [
    box(1, APPLE, 4, 4, score=0.9),
    box(1, APPLE, 30, 4, score=0.8),
    box(2, APPLE, 4, 4, score=0.95),
    box(2, PEAR, 40, 30, score=0.6),
]
#: What is wrong with the labels, in the order of the page.
LABELS = [
    box(1, APPLE, 4, 4),
    box(1, PEAR, 30, 4),
    box(2, PEAR, 4, 30),
    box(2, APPLE, 4, 4),
]
ON_LABELS = [
    box(1, APPLE, 4, 4, score=0.9),
    box(1, APPLE, 30, 4, score=0.85),
    box(1, APPLE, 40, 30, score=0.8),
    box(1, PEAR, 20, 30, score=0.5),  # not confident
    box(2, APPLE, 4, 4, score=0.99),
]


class Run:
    """A run with predictions that no network has made."""

    def __init__(self, path):
        self.path = path
        self.images = path / 'images'
        self.images.mkdir(parents=True)
        for name in ('l1.png', 'l2.png', 'u1.png', 'u2.png', *VAL):
            picture = np.full((*SIZE, 3), 90, np.uint8)
            cv2.imwrite(str(self.images / name), picture)
        self.config = CONFIG.format(images=f'{self.images}/')
        self.data = path / 'data'
        write(self.data / 'labeled.json', coco(['l1.png', 'l2.png'], LABELS))
        self.info = dict(
            request=dict(labeled='labels.json', seed=0),
            classes=list(NAMES),
            facts=dict(labeled=2, objects=4, unlabeled=0, validation=0),
            notes=['1 image <script>alert(1)</script> is left out'],
            decisions=[dict(setting='lr', value='1e-4', why='for a & b')],
            method='supervised',
            model='mask2former_r50',
            metrics={},
            seconds=dict(supervised=150.0),
            best='supervised',
        )
        (path / 'config.py').write_text(self.config)
        self.stage('supervised')

    def stage(self, name, rows=()):
        folder = self.path / 'stages' / name
        folder.mkdir(parents=True)
        (folder / 'iter_9.pth').write_text(f'weights of {name}')
        (folder / 'last_checkpoint').write_text(str(folder / 'iter_9.pth'))
        log = folder / '1/vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('\n'.join(json.dumps(row) for row in rows))

    def add_student(self):
        (self.path / 'supervised.py').write_text(self.config)
        aps = [0.1, 0.3, 0.28, 0.25, 0.2]
        self.stage(
            'student',
            [
                {
                    'step': 9 * i,
                    'student/coco/segm_mAP': ap,
                    'sup_loss_mask': 1 - 0.1 * i,
                    'time': 0.5,
                    'memory': 2048,
                }
                for i, ap in enumerate(aps, 1)
            ],
        )
        labels = [box(1, APPLE, 4, 4, score=0.7)]
        unlabeled = coco(['u1.png', 'u2.png'], labels)
        write(self.path / 'pseudo_labels.json', unlabeled)
        self.info.update(method='guided_distillation', best='student')
        self.info['facts']['unlabeled'] = 2
        self.info['seconds']['student'] = 7200.0

    def add_validation(self):
        write(self.data / 'val.json', coco(VAL, TRUTH))
        self.info['facts']['validation'] = 3
        names = {'supervised': 0.2, 'teacher': 0.25, 'student': 0.5}
        if self.info['best'] == 'supervised':
            names = {'supervised': 0.2}
        for name, ap in names.items():
            self.info['metrics'][name] = {
                'coco/segm_mAP': ap,
                'coco/segm_mAP_50': 0.613,
                'coco/segm_mAP_75': -1.0,
            }
            # The other networks find nothing.
            found = FOUND if name == self.info['best'] else []
            self.predict(f'val_{name}', name, 'val', VAL, found, '0.0')

    def predict(self, file, network, images, names, found, score_thr):
        stage = 'supervised' if network == 'supervised' else 'student'
        checkpoint = self.path / f'stages/{stage}/iter_9.pth'
        info = dict(
            checkpoint_sha256=file_digest(checkpoint),
            images_sha256=file_digest(self.data / f'{images}.json'),
            model='teacher' if network == 'teacher' else 'student',
            score_thr=score_thr,
        )
        data = coco(names, found, info=info)
        write(self.data / f'predictions_{file}.json', data)

    def page(self):
        best, names = self.info['best'], ['l1.png', 'l2.png']
        self.predict('labeled', best, 'labeled', names, ON_LABELS, '0.05')
        write(self.path / 'run.json', self.info)
        path = report(self.path)
        assert path == self.path / 'report.html'
        return path.read_text(encoding='utf-8')


@pytest.fixture
def run(tmp_path, monkeypatch):
    def generate(self, out):
        raise AssertionError(f'{out} would be predicted again')

    monkeypatch.setattr(report_data.PseudoLabelGenerator, 'generate', generate)
    return Run(tmp_path / 'my apples')


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


def test_doubts__parts_of_a_label_are_none(run):
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
