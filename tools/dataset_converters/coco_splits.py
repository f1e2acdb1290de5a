# SPDX-License-Identifier: Apache-2.0
"""Labelled and unlabelled parts of COCO, or of any data set in its format.

    # 1, 2, 5 and 10 % of train2017, fold (seed) 1
    python tools/dataset_converters/coco_splits.py data/coco \
        --percent 1 2 5 10
    # the draws of Unbiased Teacher
    python tools/dataset_converters/coco_splits.py data/coco \
        --percent 10 --fold 1 2 3 4 5 --list COCO_supervision.txt
    # another data set, some of its classes
    python tools/dataset_converters/coco_splits.py data/mine \
        --ann annotations/train.json --percent 20 --classes cat "big dog"

writes, in MMDetection's names,
``semi_anns/instances_train2017.{fold}@{percent}.json`` with the labelled
images, ``...-unlabeled.json`` with the others, and
``instances_train2017.all-unlabeled.json`` with all of them, the two without
annotations. ``--extra annotations/image_info_unlabeled2017.json`` also writes
``semi_anns/image_info_unlabeled2017.json``, which MMDetection can read: the
same images, with the categories of the labelled ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.progress import track

sys.path.append(str(Path(__file__).parents[1]))
from s4m.utils.whole_files import write_json

LIST_HELP = (
    'JSON, {percent: {fold: [number, ...]}}, as COCO_supervision.txt of '
    'Unbiased Teacher (github.com/facebookresearch/unbiased-teacher), or one '
    'list of numbers'
)


def load_coco(path: Path, classes: list[str] | None = None) -> dict:
    """Read a COCO file and check what a split relies on.

    Args:
        path (Path): Of the file.
        classes (list[str], optional): Keep these categories only.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no COCO file, an image id comes twice, or a
            class is unknown.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    try:
        data = json.loads(path.read_bytes())
    except ValueError as e:
        raise ValueError(f'{path} is no JSON file: {e}') from e
    if not isinstance(data, dict) or not data.get('images'):
        raise ValueError(f'{path} is no COCO file with images')
    ids = [image['id'] for image in data['images']]
    if len(set(ids)) < len(ids):
        seen: set[int] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))
        raise ValueError(f'{path} has two images with the id {twice}')
    if classes is not None:
        names = [c['name'] for c in data['categories']]
        unknown = [n for n in classes if n not in names]
        if unknown:
            raise ValueError(f'{path} has no category {unknown}, but {names}')
        kept = [c for c in data['categories'] if c['name'] in set(classes)]
        kept_ids = {c['id'] for c in kept}
        data['categories'] = kept
        data['annotations'] = [
            a for a in data['annotations'] if a['category_id'] in kept_ids
        ]
    return data


def draw(ids: list, percent: float, seed: int) -> set:
    """A seeded draw without replacement of at least one image.

    The order of ``ids`` does not matter.
    """
    # Not 1182.9999 of 118287 at some percentage.
    num = max(1, int(len(ids) * percent / 100 + 1e-9))
    order = np.random.default_rng(seed).permutation(len(ids))
    ids = sorted(ids)
    return {ids[i] for i in order[:num]}


def read_list(
    path: Path, data: dict, percent: float, fold: int, kind: str
) -> set[int]:
    """Image ids of one draw in an index file.

    Args:
        path (Path): See ``LIST_HELP``.
        data (dict): COCO dictionary of all images.
        percent (float): Which draw.
        fold (int): Which draw.
        kind (str): What the numbers are: ``ids`` of images, ``indices`` into
            the images sorted by id, or ``annotated`` indices into those that
            have an annotation other than a crowd (Detectron2's list with
            ``FILTER_EMPTY_ANNOTATIONS``, as Unbiased Teacher counts).

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if there is no such draw, or a number is out of range.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    draws = json.loads(path.read_text())
    if isinstance(draws, dict):
        folds = next(
            (v for k, v in draws.items() if float(k) == percent), None
        )
        if folds is None:
            raise ValueError(f'{path} has no {percent:g} %, but {list(draws)}')
        draws = folds.get(str(fold))
        if draws is None:
            raise ValueError(
                f'{path} has no fold {fold} of {percent:g} %, but '
                f'{list(folds)}'
            )
    if not draws:
        raise ValueError(f'{path} names no image')
    known = sorted(image['id'] for image in data['images'])
    if kind == 'ids':
        bad = set(draws) - set(known)
        if bad:
            raise ValueError(f'{path}: no image has the id {min(bad)}')
        return set(draws)
    if kind == 'annotated':
        shown = {
            a['image_id'] for a in data['annotations'] if not a.get('iscrowd')
        }
        known = [i for i in known if i in shown]
    bad = [i for i in draws if not 0 <= i < len(known)]
    if bad:
        raise ValueError(
            f'{path}: index {bad[0]} is not in 0..{len(known) - 1}; what do '
            'its numbers count (--list-kind)?'
        )
    return {known[i] for i in draws}


class Splitter:
    """Cuts one COCO dictionary into parts, again and again.

    Args:
        data (dict): COCO dictionary of all images.
    """

    def __init__(self, data: dict) -> None:
        self.data = data
        self.annotations = defaultdict(list)
        for annotation in data.get('annotations', []):
            self.annotations[annotation['image_id']].append(annotation)
        self.header = {
            k: v for k, v in data.items() if k not in ('images', 'annotations')
        }

    def labeled(self, ids: set) -> dict:
        """These images with their annotations, in the file's order."""
        images = [i for i in self.data['images'] if i['id'] in ids]
        found = [a for i in images for a in self.annotations[i['id']]]
        return dict(self.header, images=images, annotations=found)

    def unlabeled(self, but: set | frozenset = frozenset()) -> dict:
        """All images but some, without annotations."""
        images = [i for i in self.data['images'] if i['id'] not in but]
        return dict(self.header, images=images, annotations=[])


def percentage(text: str) -> float:
    """A percentage above 0, at most 100."""
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f'{text} is not in (0, 100]')
    return value


def make_splits(args: argparse.Namespace) -> None:
    """Write all files that the command line asks for."""
    data = load_coco(args.root / args.ann, args.classes)
    splitter = Splitter(data)
    ids = [image['id'] for image in data['images']]
    out, stem = args.root / args.out, Path(args.ann).stem
    jobs = [(p, f) for p in args.percent for f in args.fold]
    # All draws first: a bad list writes nothing.
    draws = [
        draw(ids, percent, fold)
        if args.list is None
        else read_list(args.list, data, percent, fold, args.list_kind)
        for percent, fold in jobs
    ]
    extra = None
    if args.extra is not None:
        extra = load_coco(args.root / args.extra)
        extra = dict(
            images=extra['images'],
            annotations=[],
            categories=data['categories'],
        )
        write_json(out / Path(args.extra).name, extra)
    write_json(out / f'{stem}.all-unlabeled.json', splitter.unlabeled())
    for (percent, fold), chosen in track(
        list(zip(jobs, draws, strict=True)), 'splits'
    ):
        name = f'{stem}.{fold}@{percent:g}'
        labeled = splitter.labeled(chosen)
        if not labeled['annotations']:
            raise ValueError(
                f'No annotation in the {len(chosen)} images of {name}: take '
                'another fold or percentage'
            )
        write_json(out / f'{name}.json', labeled)
        if len(chosen) < len(ids):
            rest = splitter.unlabeled(chosen)
            write_json(out / f'{name}-unlabeled.json', rest)
        print(
            f'{out / name}.json: {len(chosen)} images, '
            f'{len(labeled["annotations"])} annotations; '
            f'{len(ids) - len(chosen)} images unlabelled'
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='data root')
    parser.add_argument('--percent', type=percentage, nargs='+', required=True)
    parser.add_argument(
        '--fold', type=int, nargs='+', default=[1], help='seeds, or folds'
    )
    parser.add_argument(
        '--ann', default='annotations/instances_train2017.json'
    )
    parser.add_argument('--out', default='semi_anns', help='below the root')
    parser.add_argument('--list', type=Path, help=LIST_HELP.replace('%', '%%'))
    parser.add_argument(
        '--list-kind',
        choices=['annotated', 'indices', 'ids'],
        default='annotated',
        help='what the numbers of --list are: indices into the images that '
        'have annotations, sorted by id (Unbiased Teacher), into all images, '
        'or image ids',
    )
    parser.add_argument('--classes', nargs='+', help='keep these categories')
    parser.add_argument('--extra', help='a COCO file of unlabelled images')
    try:
        make_splits(parser.parse_args())
    except (FileNotFoundError, ValueError) as e:
        raise SystemExit(str(e)) from e


if __name__ == '__main__':
    main()
