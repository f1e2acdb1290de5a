# SPDX-License-Identifier: Apache-2.0
"""A folder of images as an unlabelled set in COCO's format.

    python tools/dataset_converters/images_to_coco.py \
        data/cityscapes/leftImg8bit/train_extra \
        --categories data/cityscapes/annotations/\
instancesonly_filtered_gtFine_train.json \
        --out data/cityscapes/annotations/train_extra-unlabeled.json

Names are relative to the folder, in sorted order. Only the head of each file
is read; a file that is no image stops it with its name.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from rich.progress import track

sys.path.append(str(Path(__file__).parents[1]))
from s4m.utils.whole_files import write_json

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
_EXIF_ORIENTATION = 0x0112


def find_images(path: Path) -> list[Path]:
    """Images below a folder in sorted order, or one image.

    Raises:
        FileNotFoundError: if there is none.
    """
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob('*') if p.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f'No image at {path}')
    return found


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) as the image is shown, and as MMCV reads it.

    Raises:
        ValueError: if it is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    except (UnidentifiedImageError, OSError) as e:
        raise ValueError(f'{path} cannot be read as an image: {e}') from e
    return (width, height) if turned else (height, width)


def describe(folder: Path, categories: list[dict]) -> dict:
    """COCO dictionary of a folder."""
    images = []
    for number, file in enumerate(track(find_images(folder), 'images')):
        height, width = image_size(file)
        name = str(file.relative_to(folder))
        images.append(
            dict(id=number, file_name=name, height=height, width=width)
        )
    return dict(images=images, annotations=[], categories=categories)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', type=Path)
    parser.add_argument(
        '--categories',
        type=Path,
        required=True,
        help='COCO file of the labelled images, whose categories are taken',
    )
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    try:
        categories = json.loads(args.categories.read_bytes())['categories']
        data = describe(args.folder, categories)
    except (OSError, ValueError, KeyError) as e:
        raise SystemExit(f'{type(e).__name__}: {e}') from e
    write_json(args.out, data)
    print(f'{args.out}: {len(data["images"])} images')


if __name__ == '__main__':
    main()
