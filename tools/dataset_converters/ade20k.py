# SPDX-License-Identifier: Apache-2.0
"""Convert ADE20K's instance PNGs to COCO JSON.

    python tools/dataset_converters/ade20k.py data/ADEChallengeData2016

Below the data root are the images of the scene parsing challenge and the
instance annotations of Places Challenge 2017
(sceneparsing.csail.mit.edu, placeschallenge.csail.mit.edu):

    images/{training,validation}/*.jpg
    annotations_instance/{training,validation}/*.png

The red channel of a PNG is the class, 1 to 100, the green one the instance.
Writes ``ade20k_instance_{train,val}.json`` with MMDetection's 100 names,
masks as RLE. Files are taken in sorted order, so image ids are the same on
every machine. Splits: ``coco_splits.py data/ADEChallengeData2016 --ann
ade20k_instance_train.json --percent 10``.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mmdet.datasets import ADE20KInstanceDataset
from rich.progress import track

sys.path.append(str(Path(__file__).parents[1]))
from images_to_coco import image_size
from s4m.datasets.coco_io import annotation, encode_masks, number
from s4m.utils.whole_files import write_json

CATEGORIES = [
    dict(id=i + 1, name=name)
    for i, name in enumerate(ADE20KInstanceDataset.METAINFO['classes'])
]
SPLITS = dict(train='training', val='validation')


def convert_image(truth: Path, images: Path) -> tuple[dict, list[dict]]:
    """COCO entries of one PNG, without ids.

    Args:
        truth (Path): Class in the red channel, instance in the green one.
        images (Path): Folder of the photos.

    Raises:
        FileNotFoundError: if the photo is missing.
        ValueError: if a file cannot be read, sizes differ, a class is not 0
            to 100, or an instance has two classes.
    """
    png = cv2.imread(str(truth), cv2.IMREAD_COLOR)
    if png is None:
        raise ValueError(f'{truth} cannot be read as an image')
    photo = images / f'{truth.stem}.jpg'
    if not photo.is_file():
        raise FileNotFoundError(f'{photo} is missing')
    size = image_size(photo)
    if size != png.shape[:2]:
        raise ValueError(
            f'{truth} is {png.shape[0]} x {png.shape[1]} pixels, {photo} '
            f'{size[0]} x {size[1]}'
        )
    classes, instances = png[..., 2], png[..., 1]
    annotations = []
    for value in np.unique(instances[classes > 0]).tolist():
        mask = (instances == value) & (classes > 0)
        kinds = np.unique(classes[mask]).tolist()
        if len(kinds) > 1:
            raise ValueError(
                f'{truth}: instance {value} has the classes {kinds}'
            )
        if kinds[0] > len(CATEGORIES):
            raise ValueError(
                f'{truth} has the class {kinds[0]}; there are '
                f'{len(CATEGORIES)}'
            )
        (rle,) = encode_masks(mask[None])
        annotations.append(annotation(None, kinds[0], rle))
    image = dict(file_name=photo.name, height=size[0], width=size[1])
    return image, annotations


def convert_split(root: Path, split: str, workers: int | None = None) -> dict:
    """COCO dictionary of one split.

    Args:
        root (Path): Data root.
        split (str): ``train`` or ``val``.
        workers (int, optional): Processes; the cores by default.

    Raises:
        FileNotFoundError: if there is no PNG, or a photo is missing.
        ValueError: See :func:`convert_image`.
    """
    folder = root / 'annotations_instance' / SPLITS[split]
    files = sorted(folder.glob('*.png'))
    if not files:
        raise FileNotFoundError(
            f'No PNG in {folder}. annotations_instance.tar of the Places '
            'Challenge 2017 has them; unpack it into the data root.'
        )
    convert = partial(convert_image, images=root / 'images' / SPLITS[split])
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(convert, files, chunksize=8)
        images, annotations = number(track(results, split, total=len(files)))
    return dict(images=images, annotations=annotations, categories=CATEGORIES)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='data root')
    parser.add_argument('--splits', nargs='+', default=list(SPLITS))
    parser.add_argument('--workers', type=int)
    args = parser.parse_args()
    try:
        for split in args.splits:
            data = convert_split(args.root, split, args.workers)
            out = args.root / f'ade20k_instance_{split}.json'
            write_json(out, data)
            print(
                f'{out}: {len(data["images"])} images, '
                f'{len(data["annotations"])} instances'
            )
    except (FileNotFoundError, ValueError) as e:
        raise SystemExit(str(e)) from e


if __name__ == '__main__':
    main()
