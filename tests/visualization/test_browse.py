# SPDX-License-Identifier: Apache-2.0
"""Pictures of training batches."""

from __future__ import annotations

import numpy as np
import pytest
from mmdet.registry import MODELS
from mmengine.runner import Runner
from s4m.visualization.browse import browse, draw_batch


@pytest.mark.parametrize('labels', [False, True])
def test_draw_batch__panels(shapes_config, labels):
    cfg = shapes_config('s4m_shapes_5p')
    cfg.model.pseudo_labeler.cls_thr = 0.0
    cfg.train_dataloader.update(batch_size=3)
    cfg.train_dataloader.sampler.update(num_labeled=1, num_unlabeled=2)
    model = MODELS.build(cfg.model).eval()
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    rows = draw_batch(model, next(iter(loader)), labels)
    # Image and ground truth; then the views of two images.
    assert [len(row) for row in rows] == [2, *([5, 5] if labels else [3, 3])]
    for panels in rows:
        for picture in panels:
            assert picture.shape == (64, 128, 3)
            assert picture.dtype == np.uint8


@pytest.mark.parametrize(
    ('stage', 'widths'), [('distill', [3, 3, 3]), ('teacher_adapt', [3])]
)
def test_draw_batch__pseudo_labels_of_a_file(
    shapes_config, shapes_root, stage, widths
):
    """Weak view, what it learns from, strong view, of each image."""
    cfg = shapes_config(f'sskd_{stage}_shapes_5p')
    data = cfg.train_dataloader
    if stage == 'distill':
        gt = 'annotations/instancesonly_filtered_gtFine_train.json'
        data.dataset.unlabeled.ann_file = str(shapes_root / gt)
        data.update(batch_size=3)
        data.sampler.update(num_labeled=1, num_unlabeled=2)
    else:
        data.update(batch_size=1)
    model = MODELS.build(cfg.model).eval()
    batch = next(iter(Runner.build_dataloader(data, seed=0)))
    rows = draw_batch(model, batch, False)
    assert [len(row) for row in rows] == widths
    for row in rows:
        weak, masks, strong = (picture.astype(int) for picture in row)
        assert np.abs(weak - masks).max() > 50  # painted: there are objects
        assert np.abs(weak - strong).mean() > 1


def test_browse__no_teacher_in_the_model(shapes_config, tmp_path):
    cfg = shapes_config('sskd_distill_shapes_5p')
    with pytest.raises(ValueError, match='has no teacher in its model'):
        browse(cfg, tmp_path, teacher='work_dirs/x')
