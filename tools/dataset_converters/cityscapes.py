# SPDX-License-Identifier: Apache-2.0
"""Convert Cityscapes' (or Shapes') instance PNGs to COCO JSON.

    python tools/dataset_converters/cityscapes.py data/cityscapes

writes ``annotations/instancesonly_filtered_gtFine_{train,val}.json`` below
the data root: the eight instance classes that are evaluated, masks as RLE,
groups as ``iscrowd``. Files are taken in sorted order, so image ids are the
same on every machine.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import id2label, labels
from rich.progress import track

sys.path.append(str(Path(__file__).parents[1]))
from s4m.datasets.coco_io import annotation, encode_masks, number
from s4m.utils.whole_files import write_json

CATEGORIES = [
    dict(id=label.id, name=label.name)
    for label in labels
    if label.hasInstances and not label.ignoreInEval
]


def convert_image(truth: Path) -> tuple[dict, list[dict]]:
    """COCO entries of one ``*_gtFine_instanceIds.png``, without ids.

    Returns:
        tuple: the image and its annotations.

    Raises:
        ValueError: if the file is not a readable PNG.
    """
    ids = cv2.imread(str(truth), cv2.IMREAD_UNCHANGED)
    if ids is None:
        raise ValueError(f'{truth} cannot be read as an image')
    annotations = []
    for value in np.unique(ids).tolist():
        # Things only: a group has its label id alone.
        label = id2label.get(value // 1000 if value >= 1000 else value)
        if label is None:
            raise ValueError(f'{truth} holds {value}, no Cityscapes id')
        if not label.hasInstances or label.ignoreInEval:
            continue
        (rle,) = encode_masks((ids == value)[None])
        annotations.append(
            annotation(None, label.id, rle, iscrowd=int(value < 1000))
        )
    city, stem = (
        truth.parent.name,
        truth.name.removesuffix('_gtFine_instanceIds.png'),
    )
    image = dict(
        file_name=f'{city}/{stem}_leftImg8bit.png',
        segm_file=f'{city}/{stem}_gtFine_labelIds.png',
        height=ids.shape[0],
        width=ids.shape[1],
    )
    return image, annotations


def convert_split(root: Path, split: str, workers: int | None = None) -> dict:
    """COCO dictionary of one split.

    Args:
        root (Path): Folder with ``gtFine`` and ``leftImg8bit``.
        split (str): ``train`` or ``val``.
        workers (int, optional): Processes; the cores by default.

    Raises:
        FileNotFoundError: if there is no instance PNG, or an image is
            missing.
    """
    folder = root / 'gtFine' / split
    files = sorted(folder.glob('*/*_gtFine_instanceIds.png'))
    if not files:
        raise FileNotFoundError(
            f"No *_gtFine_instanceIds.png below {folder}. Cityscapes' "
            'gtFine_trainvaltest.zip has them; unpack it into the data root.'
        )

    def checked(results):
        for image, found in track(results, split, total=len(files)):
            path = root / 'leftImg8bit' / split / image['file_name']
            if not path.is_file():
                raise FileNotFoundError(f'{path} is missing')
            yield image, found

    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(convert_image, files, chunksize=8)
        images, annotations = number(checked(results))
    return dict(images=images, annotations=annotations, categories=CATEGORIES)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='data root')
    parser.add_argument('--splits', nargs='+', default=['train', 'val'])
    parser.add_argument('--workers', type=int)
    args = parser.parse_args()
    for split in args.splits:
        out = args.root / 'annotations'
        out /= f'instancesonly_filtered_gtFine_{split}.json'
        data = convert_split(args.root, split, args.workers)
        write_json(out, data)
        print(
            f'{out}: {len(data["images"])} images, '
            f'{len(data["annotations"])} instances'
        )


if __name__ == '__main__':
    main()
