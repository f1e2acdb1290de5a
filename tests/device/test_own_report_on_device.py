# SPDX-License-Identifier: Apache-2.0
"""The page of a run whose networks predict on a device."""

from __future__ import annotations

import pytest
from own_runs import make_run
from s4m.apis.own_data.report import report
from s4m.apis.own_data.report_data import refine_labels
from s4m.datasets.coco_io import read_coco

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]


def test_report__on_a_device(tmp_path, shapes_config, shapes_root):
    run = make_run(tmp_path / 'run', shapes_config, shapes_root)
    text = report(run.path).read_text(encoding='utf-8')
    assert 'refined (' in text and 'id="predictions"' in text
    images = read_coco(run.data / 'unlabeled.json')['images'][:4]
    assert all(row['after'] for row in refine_labels(run, images))
