# SPDX-License-Identifier: Apache-2.0
"""Label files as annotation tools write them, of small images."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from s4m.datasets.coco_io import annotation, encode_masks
from s4m.datasets.formats import LabelledSet
from s4m.datasets.formats.polygons import decode

#: Height and width of the images.
SIZE = 120, 160
#: Spaces, an umlaut, and one name in two folders.
NAMES = ('front/ä 1.png', 'side view/ä 1.png', 'Äpfel.jpg')
#: A square of 100 pixels, in all coordinates.
SQUARE = [[10, 20], [20, 20], [20, 30], [10, 30]]
FLAT = [10, 20, 20, 20, 20, 30, 10, 30]


def image(path: Path, size: tuple[int, int] = SIZE, **kwargs) -> Path:
    """Write an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size[::-1]).save(path, **kwargs)
    return path


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """Mask of a disc."""
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


#: A disc, a ring, and two parts; none covers another.
MASKS = (
    disc(30, 30, 17.5),
    disc(100, 45, 32) & ~disc(95, 40, 12),
    disc(40, 90, 20) | disc(95, 98, 14),
)


def labelled(root: Path) -> LabelledSet:
    """Images with the masks as RLE, a triangle, and an empty image."""
    for name in NAMES:
        image(root / name)
    images = [
        dict(id=k, file_name=name, height=SIZE[0], width=SIZE[1])
        for k, name in enumerate(NAMES, 1)
    ]
    entries = [
        annotation(1, 1 + k % 2, rle)
        for k, rle in enumerate(encode_masks(np.stack(MASKS)))
    ]
    triangle = [20.5, 10.25, 140, 15, 60.75, 110.5]
    (rle,) = encode_masks(decode([triangle], SIZE)[None])
    entries.append(annotation(2, 2, rle) | dict(segmentation=[triangle]))
    annotations = [dict(a, id=k) for k, a in enumerate(entries, 1)]
    categories = [dict(id=1, name='red apple'), dict(id=2, name='Birne')]
    return LabelledSet(images, annotations, categories, root, 'coco')


def masks(labels: LabelledSet) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Class and mask of the instances of each image."""
    names = {c['id']: c['name'] for c in labels.categories}
    found: dict[str, list[tuple[str, np.ndarray]]] = {}
    for info in labels.images:
        size = info['height'], info['width']
        found[info['file_name']] = [
            (names[a['category_id']], decode(a['segmentation'], size))
            for a in labels.annotations
            if a['image_id'] == info['id']
        ]
    return found


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two masks."""
    return float((a & b).sum() / (a | b).sum())


def write(path: Path, data) -> Path:
    """Write JSON, or text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = data if isinstance(data, str) else json.dumps(data)
    path.write_text(text, 'utf-8')
    return path


def png(mask: np.ndarray) -> str:
    """PNG of a mask as labelme stores it."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, 'PNG')
    return base64.b64encode(buffer.getvalue()).decode()


def labelme(shapes: list[dict], name: str = 'a.png', **fields) -> dict:
    """A file of labelme 5."""
    common = dict(group_id=None, description='', flags={}, mask=None)
    return (
        dict(
            version='5.5.0',
            flags={},
            shapes=[common | shape for shape in shapes],
            imagePath=name,
            imageData=None,
            imageHeight=SIZE[0],
            imageWidth=SIZE[1],
        )
        | fields
    )


def coco(annotations: list[dict], name: str = 'a.png', **fields) -> dict:
    """A COCO file of one image and the classes pear (7) and apple (3)."""
    info = dict(id=10, file_name=name, height=SIZE[0], width=SIZE[1])
    return (
        dict(
            images=[info],
            annotations=[dict(id=4, image_id=10) | a for a in annotations],
            categories=[dict(id=7, name='pear'), dict(id=3, name='apple')],
        )
        | fields
    )


def cvat(shapes: str, name: str = 'a.png') -> str:
    """CVAT for images 1.1, of a task."""
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>3</id><name>fruits</name><size>1</size><mode>annotation</mode>
      <labels>
        <label><name>pear</name><color>#fa3253</color><type>any</type>
          <attributes></attributes></label>
        <label><name>apple</name><color>#24b353</color><type>any</type>
          <attributes></attributes></label>
      </labels>
    </task>
    <dumped>2026-11-01 10:00:00.000000+00:00</dumped>
  </meta>
  <image id="0" name="{name}" width="{SIZE[1]}" height="{SIZE[0]}">
    {shapes}
  </image>
</annotations>
"""


def task(result: list[dict], name: str = 'a.png', **fields) -> dict:
    """A task of Label Studio's export."""
    common = dict(
        original_width=SIZE[1],
        original_height=SIZE[0],
        image_rotation=0,
        from_name='label',
        to_name='image',
        origin='manual',
    )
    entries = [common | dict(id=f'r{k}') | r for k, r in enumerate(result)]
    return (
        dict(
            id=1,
            annotations=[
                dict(
                    id=1,
                    completed_by=1,
                    result=entries,
                    was_cancelled=False,
                    ground_truth=False,
                )
            ],
            file_upload=f'0a1b2c3d-{name}',
            drafts=[],
            predictions=[],
            data=dict(image=f'/data/upload/1/0a1b2c3d-{name}'),
            meta={},
            project=1,
        )
        | fields
    )


def region(shape: dict, **attributes) -> dict:
    """A region of VIA."""
    return dict(shape_attributes=shape, region_attributes=attributes)


def via(regions: list[dict], name: str = 'a.png') -> dict:
    """Regions that VIA 2 exported."""
    entry = dict(filename=name, size=99, regions=regions, file_attributes={})
    return {f'{name}99': entry}


def square(label: str = 'apple', **fields) -> dict:
    """A polygon of labelme with 100 pixels."""
    points = [[10, 20], [20, 20], [20, 30], [10, 30]]
    return dict(label=label, points=points, shape_type='polygon') | fields


def square_mask() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[20:30, 10:20] = True
    return mask


def is_square(found) -> bool:
    """Whether the only instance of the only image is the square."""
    ((name, mask),) = next(iter(masks(found).values()))
    return name == 'apple' and np.array_equal(mask, square_mask())


TRIANGLE = [10, 20, 20, 20, 20, 30]


def triangle(**fields) -> dict:
    """COCO annotation of a triangle."""
    return dict(category_id=3, segmentation=[TRIANGLE]) | fields
