# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run's page: labels, pseudo-labels and predictions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycocotools import mask as mask_utils

from s4m.evaluation.image_matches import ImageMatches, annotation_rle
from s4m.visualization import palette
from s4m.visualization.overlays import (
    Color,
    Mark,
    Picture,
    css_color,
    cut_out,
    outline,
    paint_rles,
    picture_of,
    read_image,
    square_around,
)

from .label_doubts import Doubt

#: Longer side of a picture, and side of a thumbnail, in pixels.
_SIDE, _THUMB = 560, 200
#: With more objects, a picture has no names and the legend has numbers.
_NAMED = 12
#: Colours of the thumbnails: what is in doubt, and the other labels.
_DOUBT: Color = (255, 60, 60)
_OTHER: Color = (255, 255, 255)

Annotations = Sequence[Mapping[str, Any]]


@dataclass
class Row:
    """Pictures of one image, side by side.

    Attributes:
        caption (str): Name of the image.
        pictures (list[Picture]): The pictures; none if the image is gone.
        legend (list[tuple]): (colour in CSS's notation or nothing, text).
    """

    caption: str
    pictures: list[Picture] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_wide(self) -> bool:
        """Whether a phone shows the pictures below each other."""
        return any(p.width > 1.5 * p.height for p in self.pictures)


@dataclass
class Column:
    """What one picture of a row shows.

    Attributes:
        title (str): Its title.
        objects (Sequence): Annotations that are painted.
        colors (Sequence[int]): Index into the palette of each object.
    """

    title: str
    objects: Annotations
    colors: Sequence[int]


def make_row(
    root: str | Path,
    image: Mapping[str, Any],
    columns: Sequence[Column],
    names: Mapping[int, str],
    *,
    with_image: bool = False,
    legend: int = -1,
) -> Row:
    """Draw an image with the objects of each column.

    Args:
        root (str | Path): Folder of the image.
        image (Mapping): Entry of the image in a COCO file.
        columns (Sequence[Column]): What the pictures show.
        names (Mapping[int, str]): Class names by category id.
        with_image (bool): Whether the first picture is the image itself.
            Defaults to False.
        legend (int): Index of the column that the legend is of. Defaults to
            the last one.
    """
    row = Row(image['file_name'])
    rgb = read_image(Path(root, image['file_name']), _SIDE)
    if rgb is None:
        return row
    height, width = image['height'], image['width']
    if with_image:
        row.pictures.append(picture_of(rgb, 'image'))
    most = max((color for c in columns for color in c.colors), default=-1)
    hues = palette(most + 1)
    for column in columns:
        rles = [annotation_rle(dict(o), height, width) for o in column.objects]
        colors = [hues[k] for k in column.colors]
        marks = []
        # In a set of one class, its name says nothing.
        if len(names) > 1 and len(rles) <= _NAMED:
            for item, rle, color in zip(
                column.objects, rles, colors, strict=True
            ):
                left, top, *_ = mask_utils.toBbox(rle)
                marks.append(
                    Mark(
                        round(100 * min(left / width, 0.8), 1),
                        round(100 * min(top / height, 0.92), 1),
                        names[item['category_id']],
                        css_color(color),
                    )
                )
        picture = paint_rles(rgb, rles, colors)
        row.pictures.append(picture_of(picture, column.title, marks))
    row.legend = _legend(columns[legend], hues, names)
    return row


def _legend(
    column: Column, hues: Sequence[Color], names: Mapping[int, str]
) -> list[tuple[str, str]]:
    """List classes and scores of few objects, numbers of many."""
    kinds = [names[o['category_id']] for o in column.objects]
    if len(kinds) > _NAMED:
        counts = Counter(kinds).most_common(_NAMED)
        return [('', f'{name} {n}') for name, n in counts]
    return [
        (
            css_color(hues[k]),
            f'{kind} {item["score"]:.2f}' if 'score' in item else kind,
        )
        for kind, item, k in zip(
            kinds, column.objects, column.colors, strict=True
        )
    ]


def prediction_row(
    root: str | Path,
    image: Mapping[str, Any],
    matches: ImageMatches,
    names: Mapping[int, str],
    score_thr: float,
) -> Row:
    """Draw the labels of an image beside its predictions.

    A prediction has the colour of the label that it matches.

    Args:
        root (str | Path): Folder of the image.
        image (Mapping): Entry of the image in a COCO file.
        matches (ImageMatches): Labels and predictions.
        names (Mapping[int, str]): Class names by category id.
        score_thr (float): Least score of a prediction that is drawn.
    """
    labels = matches.objects
    shown = [p for p in matches.predictions if p['score'] >= score_thr]
    colors, free = [], len(labels)
    for match in matches.match[: len(shown)]:
        colors.append(int(match) if match >= 0 else free)
        free += match < 0
    row = make_row(
        root,
        image,
        [
            Column(f'labels ({len(labels)})', labels, range(len(labels))),
            Column(f'predictions ({len(shown)})', shown, colors),
        ],
        names,
    )
    row.caption += f' · F1 {matches.f1(score_thr):.2f}'
    return row


def choose_examples(
    matches: Sequence[tuple[dict[str, Any], ImageMatches]],
    score_thr: float,
    number: int = 3,
) -> dict[str, list[int]]:
    """Choose the best, the worst and random images.

    Args:
        matches (Sequence): Pairs of an image and its matches.
        score_thr (float): Least score of a prediction.
        number (int): Number of images of each kind; few images are divided
            among them. Defaults to 3.

    Returns:
        dict[str, list[int]]: indices by ``best``, ``worst`` and ``random``,
        each image once.
    """
    order = sorted(
        range(len(matches)), key=lambda i: -matches[i][1].f1(score_thr)
    )
    number = min(number, max(1, len(order) // 3))
    best = order[:number]
    worst = order[number:][-number:][::-1]
    rest = [i for i in order if i not in (*best, *worst)]
    some = random.Random(0).sample(rest, min(number, len(rest)))
    return dict(best=best, worst=worst, random=some)


def pseudo_label_row(
    root: str | Path,
    image: Mapping[str, Any],
    before: Annotations,
    after: Annotations | None,
    names: Mapping[int, str],
) -> Row:
    """Draw the pseudo-labels of an image, before and after refinement.

    Args:
        root (str | Path): Folder of the image.
        image (Mapping): Entry of the image in a COCO file.
        before (Sequence): Pseudo-labels.
        after (Sequence, optional): Refined ones, whose ``position`` is their
            index in ``before``; None without a refinement.
        names (Mapping[int, str]): Class names by category id.
    """
    if after is None:
        columns = [
            Column(
                f'pseudo-labels ({len(before)})', before, range(len(before))
            )
        ]
    else:
        columns = [
            Column(f'before ({len(before)})', before, range(len(before))),
            Column(
                f'refined ({len(after)})',
                after,
                [a['position'] for a in after],
            ),
        ]
    return make_row(root, image, columns, names, with_image=True, legend=0)


def doubt_thumbs(
    doubts: Iterable[Doubt],
    labels: Mapping[Any, Annotations],
    root: str | Path,
    names: Mapping[int, str],
) -> list[Row]:
    """Draw the places of doubts, with the other labels there.

    Args:
        doubts (Iterable[Doubt]): The doubts.
        labels (Mapping): Annotations by the id of their image.
        root (str | Path): Folder of the images.
        names (Mapping[int, str]): Class names by category id.

    Returns:
        list[Row]: one picture each; none where an image is gone.
    """
    rows = []
    for doubt in doubts:
        image = doubt.image
        row = Row(image['file_name'])
        rows.append(row)
        rgb = read_image(Path(root, image['file_name']), 10**6)
        if rgb is None:
            continue
        size = image['height'], image['width']
        rle = annotation_rle(dict(doubt.where), *size)
        square = square_around(mask_utils.toBbox(rle), *size)
        crop = cut_out(rgb, square, _THUMB, outside=150)
        for other in labels.get(image['id'], ()):
            if other is not doubt.label:
                mask = annotation_rle(dict(other), *size)
                if _meets(mask_utils.toBbox(mask), square):
                    outline(crop, mask, square, _OTHER, 1)
        outline(crop, rle, square, _DOUBT, 2)
        row.pictures.append(picture_of(crop, doubt_text(doubt, names)))
    return rows


def _meets(box: Sequence[float], square: tuple[int, int, int]) -> bool:
    """Check whether a box and a square have a common pixel."""
    left, top, side = square
    x, y, width, height = box
    return (
        x < left + side
        and y < top + side
        and x + width > left
        and y + height > top
    )


def doubt_text(doubt: Doubt, names: Mapping[int, str]) -> str:
    """Say what a doubt is about."""
    said = names[doubt.label['category_id']] if doubt.label else ''
    if doubt.prediction is None:
        return f'label {said}, nothing predicted'
    seen = names[doubt.prediction['category_id']]
    seen = f'{seen} {doubt.prediction["score"]:.2f}'
    if doubt.label is None:
        return f'no label, predicted {seen}'
    return f'label {said}, predicted {seen}'
