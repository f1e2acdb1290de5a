# SPDX-License-Identifier: Apache-2.0
"""Compare labels of suggested images with labels of random ones on Shapes.

    python tools/benchmark/suggest_study.py --starts work_dirs/tables/1200

A supervised model of 20 labelled images, ``STARTS/SEED/supervised_shapes_5p``,
suggests 20 of the 380 others, with the nano SAM 2; as many are drawn at
random. For each choice a supervised model is trained on the 40 images.
A second call resumes where the first one stopped.
"""

from __future__ import annotations

import json
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
        dict: names of the images by ``suggest`` and ``random``, and the
        ``terms`` of all unlabelled images by name.
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
    drawn = np.random.default_rng(seed).choice(len(names), num, replace=False)
    return dict(
        suggest=[names[k] for k, _, _ in picked],
        random=[names[k] for k in drawn],
        terms={
            name: {t: round(float(v[k]), 4) for t, v in scores.terms.items()}
            for k, name in enumerate(names)
        },
    )


def labels_of(names: list[str], out: Path) -> int:
    """Write the labels of the first 20 images and of some others.

    Args:
        names (list[str]): File names of the others.
        out (Path): COCO file to write.

    Returns:
        int: number of objects of the others.
    """
    data = get_config(find_config(CONFIG)).train_dataloader.dataset
    first = read_coco(Path(data.data_root, data.ann_file))
    every = read_coco(
        Path(
            data.data_root,
            'annotations/instancesonly_filtered_gtFine_train.json',
        )
    )
    ids = {image['file_name']: image['id'] for image in every['images']}
    more = select_images(every, [ids[name] for name in names])
    both = [image['file_name'] for image in first['images']] + names
    write_coco(out, **select_images(every, [ids[name] for name in both]))
    return len(more['annotations'])


@cli.one_line_errors
def main() -> None:
    """Command line."""
    parser = cli.make_parser(__doc__)
    parser.add_argument('--starts', type=Path, required=True)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--num', type=int, default=20)
    parser.add_argument('--iters', type=int, default=1200)
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/suggest_study')
    )
    args = parser.parse_args()
    folder = args.work_dir.absolute()
    results = Results(folder / 'results.json')
    config = find_config(CONFIG)
    for seed in args.seeds:
        file = folder / f'chosen_{seed}.json'
        if not file.is_file():
            start = args.starts / str(seed) / CONFIG
            write_json(file, choose(start, args.num, seed))
        chosen = json.loads(file.read_text())
        for way in ('suggest', 'random'):
            labels = folder / f'{way}_{seed}.json'
            objects = labels_of(chosen[way], labels)
            print(f'{way}, seed {seed}: {objects} objects', flush=True)
            options = schedule(get_config(config), args.iters, seed)
            options['train_dataloader.dataset.ann_file'] = str(labels)
            makes = folder / str(args.iters) / str(seed) / way
            make_run(
                Stage(config, makes, options=options), BEDS['shapes'], results
            )


if __name__ == '__main__':
    main()
