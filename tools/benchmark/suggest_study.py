# SPDX-License-Identifier: Apache-2.0
"""Compare labels of suggested images with labels of random ones on Shapes.

    python tools/benchmark/suggest_study.py --starts work_dirs/tables/1200

A supervised model of 20 labelled images, ``STARTS/SEED/supervised_shapes_5p``,
suggests 20 of the 380 others, with the nano SAM 2 (``suggest``); as many are
drawn at random (``random``), and so many that they have as many objects as the
suggested ones (``random_objects``), since a person draws objects, not images.
For each choice a supervised model is trained on the first 20 and the chosen
images. A second call resumes where the first one stopped.

``--corrections`` trains nothing. It counts what a person would have to correct
in the prediction of each image: objects that are missed and predictions
without an object, at a score and an IoU of 0.5. It prints the rank correlation
of each term with this number, and the mean of each choice.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmengine.registry import init_default_scope
from pycocotools import mask as mask_utils
from s4m.apis import cli
from s4m.apis.config import find_config, get_config
from s4m.apis.own_data.facts import objects_by_class, select_images
from s4m.apis.own_data.image_scores import ImageScorer
from s4m.apis.own_data.suggestion_terms import (
    average_rank,
    class_rarity,
    select_spread,
)
from s4m.apis.prediction import load_model
from s4m.apis.pseudo_labels import generate_pseudo_labels
from s4m.apis.stages import Stage
from s4m.apis.table_results import Results
from s4m.apis.table_rows import BEDS, schedule
from s4m.apis.tables import make_run
from s4m.datasets.coco_io import read_coco, write_coco
from s4m.utils.checkpoints import find_checkpoint
from s4m.utils.whole_files import write_json
from scipy.stats import spearmanr

CONFIG = 'supervised_shapes_5p'
WAYS = ('suggest', 'random', 'random_objects')
NANO_SAM2 = dict(
    type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2'
)


def choose(start: Path, num: int, seed: int) -> dict[str, Any]:
    """Choose images by suggestion and at random.

    Args:
        start (Path): Work directory of the model that suggests.
        num (int): Number of images.
        seed (int): Seed of the random choice.

    Returns:
        dict: names of the images by ``suggest``, names of all images in a
        random ``order``, and ``terms`` of all images by name.
    """
    cfg = get_config(find_config(CONFIG))
    init_default_scope('mmdet')
    model, classes = load_model(cfg, find_checkpoint(start))
    data = cfg.train_dataloader.dataset
    annotations = Path(data.data_root, data.ann_file)
    images = Path(data.data_root, data.data_prefix.img)
    labeled = read_coco(annotations)
    unlabeled = read_coco(
        annotations.with_name(f'{annotations.stem}-unlabeled.json')
    )
    numbers = objects_by_class(labeled)
    scorer = ImageScorer(
        model,
        cfg.test_dataloader.dataset.pipeline,
        class_rarity([numbers[name] for name in classes]),
        dict(type='PseudoLabelRefiner', segmenter=NANO_SAM2),
    )
    # The file lists the labelled images, too.
    first = {image['file_name'] for image in labeled['images']}
    names = [
        image['file_name']
        for image in unlabeled['images']
        if image['file_name'] not in first
    ]
    scores = scorer.score([images / name for name in names])
    known = scorer.features(
        [images / image['file_name'] for image in labeled['images']]
    )
    value = average_rank(scores.terms)
    picked = select_spread(value, scores.features, num, known)
    # Another stream than that of the first labelled images.
    drawn = np.random.default_rng([1, seed]).permutation(len(names))
    return dict(
        suggest=[names[k] for k, _, _ in picked],
        order=[names[k] for k in drawn],
        terms={
            name: {t: round(float(v[k]), 4) for t, v in scores.terms.items()}
            for k, name in enumerate(names)
        },
    )


def count_corrections(start: Path, every: dict[str, Any]) -> dict[str, int]:
    """Count what a person would correct in each unlabelled image.

    Args:
        start (Path): Work directory of the model.
        every (dict): Labels of all images.

    Returns:
        dict[str, int]: missed objects and wrong predictions by image.
    """
    data = get_config(find_config(CONFIG)).train_dataloader.dataset
    images = Path(data.data_root, data.ann_file)
    with TemporaryDirectory() as folder:
        found = generate_pseudo_labels(
            find_config(CONFIG),
            find_checkpoint(start),
            Path(folder, 'labels.json'),
            images=images.with_name(f'{images.stem}-unlabeled.json'),
            image_root=Path(data.data_root, data.data_prefix.img),
            score_thr=0.5,
            workers=0,
        )
        predicted = read_coco(found)
    ids = {image['file_name']: image['id'] for image in every['images']}
    truth: dict[Any, list[dict]] = {number: [] for number in ids.values()}
    for entry in objects_of(every):
        truth[entry['image_id']].append(entry)
    own: dict[Any, list[dict]] = {i['id']: [] for i in predicted['images']}
    for entry in predicted['annotations']:
        own[entry['image_id']].append(entry)
    return {
        image['file_name']: _wrong(
            own[image['id']], truth[ids[image['file_name']]]
        )
        for image in predicted['images']
    }


def _wrong(own: list[dict], truth: list[dict]) -> int:
    """Count objects and predictions that have no partner."""
    if not own or not truth:
        return len(own) + len(truth)
    masks = [a['segmentation'] for a in truth]
    found = [a['segmentation'] for a in own]
    iou = np.asarray(mask_utils.iou(found, masks, [0] * len(masks)))
    kinds = [[a['category_id'] for a in part] for part in (own, truth)]
    iou = iou * np.equal.outer(*kinds)
    matched = 0
    for row in iou:  # the best score is first
        best = int(row.argmax())
        if row[best] >= 0.5:
            matched += 1
            iou[:, best] = 0
    return len(own) + len(truth) - 2 * matched


def print_corrections(
    seed: int,
    chosen: dict[str, Any],
    ways: dict[str, list[str]],
    counts: dict[str, int],
) -> None:
    """Print what the terms and the choices have to do with corrections."""
    terms = {
        term: np.array([row[term] for row in chosen['terms'].values()])
        for term in next(iter(chosen['terms'].values()))
    }
    terms['value'] = average_rank(terms)
    wrong = [counts[name] for name in chosen['terms']]
    print(f'seed {seed}: {np.mean(wrong):.2f} corrections in an image')
    for term, values in terms.items():
        print(f'  {term}: rank correlation {spearmanr(values, wrong)[0]:.2f}')
    for way, names in ways.items():
        mean = np.mean([counts[name] for name in names])
        print(f'  {way}: {mean:.2f} corrections in {len(names)} images')


def read_labels() -> tuple[list[str], dict[str, Any]]:
    """Return the names of the first 20 images, and all labels of Shapes."""
    data = get_config(find_config(CONFIG)).train_dataloader.dataset
    first = read_coco(Path(data.data_root, data.ann_file))
    every = 'annotations/instancesonly_filtered_gtFine_train.json'
    names = [image['file_name'] for image in first['images']]
    return names, read_coco(Path(data.data_root, every))


def objects_of(data: dict[str, Any]) -> list[dict]:
    """Return the annotations that are not crowds."""
    return [a for a in data['annotations'] if not a.get('iscrowd', 0)]


def choices(
    chosen: dict[str, Any], every: dict[str, Any]
) -> dict[str, list[str]]:
    """Return the names of the chosen images of each way.

    Args:
        chosen (dict): Result of :func:`choose`.
        every (dict): Labels of all images.
    """
    names = {image['id']: image['file_name'] for image in every['images']}
    objects = Counter(names[a['image_id']] for a in objects_of(every))
    wanted = sum(objects[name] for name in chosen['suggest'])
    sums = np.cumsum([objects[name] for name in chosen['order']])
    # The number whose sum is nearest to the wanted one.
    number = int(abs(sums - wanted).argmin()) + 1
    return dict(
        suggest=chosen['suggest'],
        random=chosen['order'][: len(chosen['suggest'])],
        random_objects=chosen['order'][:number],
    )


@cli.one_line_errors
def main() -> None:
    """Command line."""
    parser = cli.make_parser(__doc__)
    parser.add_argument('--starts', type=Path, required=True)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--ways', nargs='+', choices=WAYS, default=WAYS)
    parser.add_argument('--corrections', action='store_true')
    parser.add_argument('--num', type=int, default=20)
    parser.add_argument('--iters', type=int, default=1200)
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/suggest_study')
    )
    args = parser.parse_args()
    folder = args.work_dir.absolute()
    results = Results(folder / 'results.json')
    config = find_config(CONFIG)
    first, every = read_labels()
    ids = {image['file_name']: image['id'] for image in every['images']}
    for seed in args.seeds:
        file = folder / f'chosen_{seed}.json'
        if not file.is_file():
            start = args.starts / str(seed) / CONFIG
            write_json(file, choose(start, args.num, seed))
        chosen = json.loads(file.read_text())
        ways = choices(chosen, every)
        if args.corrections:
            counts = count_corrections(args.starts / str(seed) / CONFIG, every)
            print_corrections(seed, chosen, ways, counts)
            continue
        for way in args.ways:
            more = select_images(every, [ids[name] for name in ways[way]])
            print(
                f'{way}, seed {seed}: {len(more["images"])} images, '
                f'{len(objects_of(more))} objects',
                flush=True,
            )
            labels = folder / f'{way}_{seed}.json'
            both = [ids[name] for name in [*first, *ways[way]]]
            write_coco(labels, **select_images(every, both))
            options = schedule(get_config(config), args.iters, seed)
            options['train_dataloader.dataset.ann_file'] = str(labels)
            makes = folder / str(args.iters) / str(seed) / way
            make_run(
                Stage(config, makes, options=options), BEDS['shapes'], results
            )


if __name__ == '__main__':
    main()
