# SPDX-License-Identifier: Apache-2.0
"""Labelled and unlabelled parts of Cityscapes' (or Shapes') training set.

    # a published list: one *_gtFine_instanceIds.png base name per line
    python tools/dataset_converters/cityscapes_splits.py data/cityscapes \
        --percent 10 --list perc_10.txt
    # an own seeded draw
    python tools/dataset_converters/cityscapes_splits.py data/shapes \
        --percent 5 --seed 0

writes ``annotations/semi/{published,seed0}@10.json`` with the labelled images
and ``...@10-unlabeled.json`` with all training images (or, with
``--unlabeled rest``, the others), without annotations.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from coco_splits import Splitter, draw, percentage

sys.path.append(str(Path(__file__).parents[1]))
from s4m.utils.whole_files import write_json

SUFFIX = '_gtFine_instanceIds.png'
PUBLISHED = (
    'The lists perc_{5,10,20,30}.txt are published with the code of Guided '
    'Distillation (github.com/facebookresearch/GuidedDistillation) and of S4M '
    '(github.com/cvlab-kaist/S4M); without them, draw a split with --seed.'
)


def read_list(path: Path, names: list[str]) -> set[str]:
    """Image stems in a published list.

    Args:
        path (Path): One ``*_gtFine_instanceIds.png`` base name per line.
        names (list[str]): Stems of all training images.

    Raises:
        FileNotFoundError: saying where the lists are published.
        ValueError: if a line names no training image, or the list is empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist. {PUBLISHED}')
    lines = [line.strip() for line in path.read_text().splitlines()]
    stems = [Path(line).name.removesuffix(SUFFIX) for line in lines if line]
    if not stems:
        raise ValueError(f'{path} names no image')
    known = set(names)
    for number, stem in enumerate(stems, 1):
        if stem not in known:
            raise ValueError(
                f'{path}, entry {number}: no training image {stem}'
            )
    return set(stems)


def stem_of(image: dict) -> str:
    """City, sequence and frame of a COCO image entry."""
    return Path(image['file_name']).name.removesuffix('_leftImg8bit.png')


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='data root')
    parser.add_argument('--percent', type=percentage, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--list', type=Path, help='a published list')
    source.add_argument('--seed', type=int, help='draw with this seed')
    parser.add_argument('--unlabeled', choices=['all', 'rest'], default='all')
    args = parser.parse_args()

    folder = args.root / 'annotations'
    full = folder / 'instancesonly_filtered_gtFine_train.json'
    if not full.is_file():
        raise SystemExit(
            f'{full} does not exist: run tools/dataset_converters/'
            f'cityscapes.py {args.root} first'
        )
    data = json.loads(full.read_text())
    names = [stem_of(image) for image in data['images']]
    try:
        if args.list is not None:
            name, chosen = 'published', read_list(args.list, names)
        else:
            name = f'seed{args.seed}'
            chosen = draw(names, args.percent, args.seed)
    except (FileNotFoundError, ValueError) as e:
        raise SystemExit(str(e)) from e
    splitter = Splitter(data)
    ids = {i['id'] for i in data['images'] if stem_of(i) in chosen}
    but = ids if args.unlabeled == 'rest' else frozenset()
    stem = folder / 'semi' / f'{name}@{args.percent:g}'
    for path, part in (
        (f'{stem}.json', splitter.labeled(ids)),
        (f'{stem}-unlabeled.json', splitter.unlabeled(but)),
    ):
        write_json(Path(path), part)
        print(f'{path}: {len(part["images"])} images')


if __name__ == '__main__':
    main()
