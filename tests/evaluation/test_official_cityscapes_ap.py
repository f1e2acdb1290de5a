# SPDX-License-Identifier: Apache-2.0
"""CityscapesInstanceMetric against cityscapesScripts, digit by digit."""

from __future__ import annotations

import contextlib
import copy
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import (
    evalInstanceLevelSemanticLabeling as CSEval,
)
from cityscapesscripts.helpers.labels import id2label, name2label
from ranks import run_ranks
from s4m.evaluation import CityscapesInstanceMetric
from s4m.evaluation.cityscapes_ap import average_precisions
from s4m.evaluation.cityscapes_matches import (
    CLASSES,
    count_by_products,
    region_histogram,
)

# Two that are not evaluated: a class with instances, and one without.
NAMES = ('person', 'car', 'bicycle', 'train', 'caravan', 'road')
BACKGROUND = (7, 23, 0, 3, 4, 9, 30)
SIZE = (45, 61)  # not a multiple of 8 pixels


def _box(rng: np.random.Generator, sizes: tuple[int, ...]) -> tuple:
    """A box on a grid of 5 pixels, so that many IoUs are equal to a tenth."""
    h, w = (5 * int(rng.choice(sizes)) for _ in range(2))
    y, x = (5 * int(rng.integers(0, n // 5)) for n in SIZE)
    return slice(y, y + h), slice(x, x + w)


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, list]:
    """IDs, and (name, confidence, mask) of predictions."""
    ids = np.full(SIZE, rng.choice(BACKGROUND), np.uint16)
    for _ in range(3):
        ids[_box(rng, (2, 4, 6))] = rng.choice(BACKGROUND)
    for number in range(rng.integers(0, 9)):
        label = name2label[str(rng.choice(NAMES[:5]))].id
        group = rng.random() < 0.25
        ids[_box(rng, (1, 2, 4, 6))] = (
            label if group else label * 1000 + number
        )
    predictions = []
    for _ in range(rng.integers(0, 12)):
        value = int(rng.choice(np.unique(ids)))
        label = value // 1000 if value >= 1000 else value
        mask = ids == value
        kind = rng.random()
        if kind < 0.4:
            mask = np.roll(mask, int(rng.integers(-5, 6)), rng.integers(0, 2))
        elif kind < 0.8:
            mask[_box(rng, (1, 2, 4))] = kind < 0.6
        elif kind < 0.95:
            mask = np.zeros(SIZE, bool)
            mask[_box(rng, (1, 2, 4))] = kind < 0.93
        name = id2label[label].name
        if name not in NAMES or rng.random() < 0.2:
            name = str(rng.choice(NAMES))
        # A tenth: confidences are often equal.
        score = np.float32(rng.integers(1, 10) / 10)
        predictions.append((name, score, mask))
    return ids, predictions


def _write(folder: Path, scenes: list) -> list[dict]:
    """Write the ground truth, and return what a network would give."""
    samples = []
    for i, (ids, predictions) in enumerate(scenes):
        path = folder / f'leftImg8bit/val/ulm/ulm_{i}_0_leftImg8bit.png'
        file = folder / f'gtFine/val/ulm/ulm_{i}_0_gtFine_instanceIds.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), ids)
        masks = [mask for _, _, mask in predictions]
        pred = dict(
            labels=torch.tensor(
                [NAMES.index(name) for name, _, _ in predictions],
                dtype=torch.long,
            ),
            scores=torch.tensor(np.array([s for _, s, _ in predictions])),
            masks=torch.from_numpy(
                np.stack(masks) if masks else np.zeros((0, *SIZE), bool)
            ),
        )
        samples.append(dict(img_path=str(path), pred_instances=pred))
    return samples


def _official(folder: Path, scenes: list) -> np.ndarray:
    """(1, classes, overlaps) AP of cityscapesScripts itself, from files."""
    out = folder / 'official'
    out.mkdir()
    args = copy.copy(CSEval.args)
    args.predictionPath, args.quiet = str(out), True
    args.gtInstancesFile = str(folder / 'gtInstances.json')
    CSEval.setInstanceLabels(args)
    gts = sorted(str(f) for f in folder.glob('gtFine/val/*/*.png'))
    lists = []
    for i, (_, predictions) in enumerate(scenes):
        lines = []
        for j, (name, score, mask) in enumerate(predictions):
            cv2.imwrite(str(out / f'{i}_{j}.png'), mask.astype(np.uint8))
            lines.append(f'{i}_{j}.png {name2label[name].id} {score}\n')
        (out / f'{i}.txt').write_text(''.join(lines))
        lists.append(str(out / f'{i}.txt'))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = CSEval.getGtInstances(gts, args)
        matches = CSEval.matchGtWithPreds(lists, gts, truth, args)
    parts = []
    for args.instLabels in [[name] for name in CLASSES]:
        overlaps = CSEval.args.overlaps
        for args.overlaps in overlaps[:, None]:
            try:
                parts.append(CSEval.evaluateMatches(matches, args).item())
            except IndexError:  # all predictions are ignored
                parts.append(0.0)
    return np.reshape(parts, (1, len(CLASSES), -1))


def _metric(folder: Path, **kwargs) -> CityscapesInstanceMetric:
    metric = CityscapesInstanceMetric(str(folder / 'gtFine/val'), **kwargs)
    metric.dataset_meta = dict(classes=NAMES)
    return metric


def _averages(aps: np.ndarray) -> dict[str, float]:
    args = copy.copy(CSEval.args)
    args.instLabels = CLASSES
    averages = CSEval.computeAverages(aps, args)
    return {
        'cityscapes/mAP': averages['allAp'],
        'cityscapes/AP@50': averages['allAp50%'],
    }


# numpy warns of a mean of nan, which is the result without objects.
@pytest.mark.filterwarnings('ignore:Mean of empty slice')
def test_random_scenes__equal_to_the_last_digit(tmp_path):
    rng = np.random.default_rng(0)
    partial = nan = 0
    for i in range(40):
        folder = tmp_path / str(i)
        scenes = [_scene(rng) for _ in range(rng.integers(1, 8))]
        metric = _metric(folder)
        metric.process({}, _write(folder, scenes))
        ours = average_precisions(metric.results)
        official = _official(folder, scenes)
        np.testing.assert_array_equal(ours, official, err_msg=f'{i}')
        partial += ((official > 0) & (official < 1)).sum()
        nan += np.isnan(official).all()
        result = metric.evaluate(len(scenes))
        np.testing.assert_equal(result, _averages(official))
    # The scenes are neither trivial nor hopeless.
    assert partial > 200
    assert nan > 0


@pytest.mark.parametrize('share', [5, 6, 7, 8, 9])
@pytest.mark.parametrize('region', ['void', 'group', 'small', 'small group'])
def test_ignored_share__at_its_threshold(tmp_path, region, share):
    """A prediction of 10 columns, some of them ignored, none on an object."""
    ids = np.full(SIZE, 7, np.uint16)
    ids[30:40, 0:20] = 24001  # another person, found with less confidence
    height = 9 if region.startswith('small') else 20
    value = {'void': 4, 'group': 24, 'small': 24002, 'small group': 24}[region]
    ids[0:height, 0:share] = value
    false, true = np.zeros((2, *SIZE), bool)
    false[0:height, 0:10] = true[30:40, 0:20] = True
    predictions = [
        ('person', np.float32(0.9), false),
        ('person', np.float32(0.5), true),
    ]
    scenes = [(ids, predictions)]
    metric = _metric(tmp_path)
    metric.process({}, _write(tmp_path, scenes))
    ours = average_precisions(metric.results)[0, CLASSES.index('person')]
    official = _official(tmp_path, scenes)[0, CLASSES.index('person')]
    np.testing.assert_array_equal(ours, official)
    # cityscapesScripts' integral of a precision of 1/2 and 1, or of 1.
    assert set(ours) <= {0.25, 1.0}


def test_histogram__same_on_host_and_device():
    rng = np.random.default_rng(0)
    masks = torch.from_numpy(rng.random((5, *SIZE)) < 0.3)
    masks[2] = False
    regions = rng.integers(0, 300, SIZE).astype(np.int32)
    expected = [np.bincount(regions[m], minlength=301) for m in masks.numpy()]
    np.testing.assert_array_equal(
        region_histogram(masks, regions, 301), expected
    )
    flat = masks.flatten(1), torch.from_numpy(regions.reshape(-1))
    np.testing.assert_array_equal(count_by_products(*flat, 301), expected)
    with torch.autocast('cpu', torch.bfloat16):
        np.testing.assert_array_equal(count_by_products(*flat, 301), expected)
    # MMDet rounds other masks towards 0.
    np.testing.assert_array_equal(
        region_histogram(masks * 1.9, regions, 301), expected
    )


def test_histogram__in_chunks(monkeypatch):
    masks = torch.ones(3, 1000, dtype=torch.bool)
    regions = torch.arange(1000) % 7
    monkeypatch.setattr('s4m.evaluation.cityscapes_matches._CHUNK', 7 * 13)
    counts = count_by_products(masks, regions, 7)
    assert (counts == np.bincount(regions.numpy())).all()


def test_outfile_prefix__same_files_and_ap(tmp_path):
    """The files that MMDet writes, and the AP of a metric without files."""
    rng = np.random.default_rng(2)
    scenes = [_scene(rng) for _ in range(5)]
    samples = _write(tmp_path, scenes)
    expected = _metric(tmp_path)
    expected.process({}, samples)
    expected = expected.evaluate(5)
    assert 0 < expected['cityscapes/mAP'] < 1
    metric = _metric(tmp_path, outfile_prefix=str(tmp_path / 'out'))
    metric.process({}, samples)
    assert metric.evaluate(5) == expected
    lines = (tmp_path / 'out/results/ulm_0_0_leftImg8bit_pred.txt').read_text()
    names = [f'{line.split()[0]}' for line in lines.splitlines()]
    assert len(names) == len(scenes[0][1])
    for name, (_, _, mask) in zip(names, scenes[0][1], strict=True):
        png = cv2.imread(str(tmp_path / 'out/results' / name), -1)
        np.testing.assert_array_equal(png != 0, mask)


def test_format_only__needs_no_ground_truth(tmp_path):
    scenes = [_scene(np.random.default_rng(1))]
    samples = _write(tmp_path, scenes)
    for file in tmp_path.glob('gtFine/val/*/*.png'):
        file.unlink()
    out = tmp_path / 'out'
    metric = _metric(tmp_path, outfile_prefix=str(out), format_only=True)
    metric.process({}, samples)
    assert metric.evaluate(1) == {}
    assert len(list(out.glob('results/*.png'))) == len(scenes[0][1])
    with pytest.raises(ValueError, match='needs outfile_prefix'):
        _metric(tmp_path, format_only=True)


def test_bad_input__one_clear_error(tmp_path):
    (sample,) = _write(tmp_path, [_scene(np.random.default_rng(1))])
    metric = _metric(tmp_path)
    pred = dict(sample['pred_instances'])
    pred['masks'] = pred['masks'][:, :-1]
    with pytest.raises(ValueError, match='size of the original image'):
        metric.process({}, [dict(sample, pred_instances=pred)])
    with pytest.raises(ValueError, match='leftImg8bit/<split>/<city>'):
        metric.process({}, [dict(sample, img_path='photo.jpg')])
    metric.dataset_meta = dict(classes=('tram',))
    with pytest.raises(ValueError, match="no class 'tram'"):
        metric.process({}, [sample])
    metric.dataset_meta = dict(classes=NAMES)
    (file,) = tmp_path.glob('gtFine/val/*/*.png')
    cv2.imwrite(str(file), np.full(SIZE, 34001, np.uint16))
    with pytest.raises(ValueError, match='no label 34'):
        metric.process({}, [sample])
    cv2.imwrite(str(file), np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(ValueError, match='3 channels'):
        metric.process({}, [sample])
    file.unlink()
    with pytest.raises(FileNotFoundError, match='no ground truth') as error:
        metric.process({}, [sample])
    assert str(file) in str(error.value)
    assert metric.results == []


def _rank(rank: int, folder: str) -> None:
    samples = torch.load(f'{folder}/samples.pt', weights_only=False)
    metric = _metric(Path(folder))
    # 5 images: the sampler gives rank 1 the first one again.
    for i in range(rank, 6, 2):
        metric.process({}, [samples[i % 5]])
    for part in ('first', 'second'):  # nothing is left from the first
        result = metric.evaluate(5) if part == 'first' else metric.results
        torch.save(result, f'{folder}/{part}{rank}.pt')


def test_two_processes__as_one(tmp_path):
    rng = np.random.default_rng(2)
    samples = _write(tmp_path, [_scene(rng) for _ in range(5)])
    torch.save(samples, tmp_path / 'samples.pt')
    run_ranks(_rank, str(tmp_path))
    metric = _metric(tmp_path)
    metric.process({}, samples)
    expected = metric.evaluate(5)
    assert 0 < expected['cityscapes/mAP'] < 1
    for rank in (0, 1):
        assert torch.load(tmp_path / f'first{rank}.pt') == expected
        assert torch.load(tmp_path / f'second{rank}.pt') == []
