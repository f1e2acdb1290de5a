# SPDX-License-Identifier: Apache-2.0
"""Compare labels of suggested images with labels of random ones on Shapes.

    python tools/benchmark/suggest_study.py --starts work_dirs/tables/1200

A supervised model of 20 labelled images, ``STARTS/SEED/supervised_shapes_5p``,
suggests 20 of the 380 others, with the nano SAM 2 (``suggest``); as many are
drawn at random (``random``), and so many that they have as many objects as the
suggested ones (``random_objects``), since a person draws objects, not images.
For each choice a supervised model is trained on the first 20 and the chosen
images. A second call resumes where the first one stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import init_default_scope
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
from s4m.apis.stages import Stage
from s4m.apis.table_results import Results
from s4m.apis.table_rows import BEDS, schedule
from s4m.apis.tables import make_run
from s4m.datasets.coco_io import read_coco, write_coco
from s4m.utils.checkpoints import find_checkpoint
from s4m.utils.whole_files import write_json

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
    names = [image['file_name'] for image in unlabeled['images']]
    scores = scorer.score([images / name for name in names])
    known = scorer.features(
        [images / image['file_name'] for image in labeled['images']]
    )
    value = average_rank(scores.terms)
    picked = select_spread(value, scores.features, num, known)
    drawn = np.random.default_rng(seed).permutation(len(names))
    return dict(
        suggest=[names[k] for k, _, _ in picked],
        order=[names[k] for k in drawn],
        terms={
            name: {t: round(float(v[k]), 4) for t, v in scores.terms.items()}
            for k, name in enumerate(names)
        },
    )


def read_labels() -> tuple[list[str], dict[str, Any]]:
    """Return the names of the first 20 images, and all labels of Shapes."""
    data = get_config(find_config(CONFIG)).train_dataloader.dataset
    first = read_coco(Path(data.data_root, data.ann_file))
    every = 'annotations/instancesonly_filtered_gtFine_train.json'
    names = [image['file_name'] for image in first['images']]
    return names, read_coco(Path(data.data_root, every))


def choices(
    chosen: dict[str, Any], every: dict[str, Any]
) -> dict[str, list[str]]:
    """Return the names of the chosen images of each way.

    Args:
        chosen (dict): Result of :func:`choose`.
        every (dict): Labels of all images.
    """
    names = {image['id']: image['file_name'] for image in every['images']}
    objects = Counter(names[a['image_id']] for a in every['annotations'])
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
        ways = choices(json.loads(file.read_text()), every)
        for way in args.ways:
            more = select_images(every, [ids[name] for name in ways[way]])
            print(
                f'{way}, seed {seed}: {len(more["images"])} images, '
                f'{len(more["annotations"])} objects',
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
