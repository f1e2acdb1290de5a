# SPDX-License-Identifier: Apache-2.0
"""The demo's page."""

from __future__ import annotations

from s4m.visualization import write_report

NETWORK = {
    'cityscapes/mAP': 0.123,
    'cityscapes/AP@50': 0.2,
    'coco/segm_mAP': 0.3,
}


def test_report__rows_figures_and_pictures(tmp_path):
    results = {
        'Supervised': dict(metrics=dict(model=NETWORK), train_seconds=90),
        'A & B': dict(
            metrics=dict(student=NETWORK, teacher={}), train_seconds=60
        ),
        # MMDetection leaves out the AP of a network that predicts nothing.
        'S4M': dict(
            metrics=dict(student={'cityscapes/mAP': 0.0}), train_seconds=0
        ),
    }
    quality = dict(images=3, per_image=4.5, class_accuracy=77.0)
    page = write_report(tmp_path, results, quality, 16, 50).read_text()
    cells = '<td>12.3</td><td>20.0</td><td>30.0</td>'
    assert f'<td>Supervised</td>{cells}<td>1.5</td>' in page
    assert f'<td>A &amp; B</td>{cells}<td>1.0</td>' in page
    zeros = '<td>0.0</td>' * 4
    assert f'<td>S4M</td>{zeros}' in page
    order = [page.index(n) for n in ('Supervised', 'A &amp; B', '<td>S4M<')]
    assert order == sorted(order)
    assert '<td>class accuracy, %</td><td>77.0</td>' in page
    assert 'src="curves.png"' in page and 'drift.png' not in page
    assert '16 iterations' in page and 'pseudo_labels.png' not in page
    (tmp_path / 'pseudo_labels.png').touch()
    (tmp_path / 'drift.png').touch()
    page = write_report(tmp_path, results, quality, 16, 50).read_text()
    assert 'pseudo_labels.png' in page
    assert 'src="drift.png"' in page and 'on 50 validation' in page
