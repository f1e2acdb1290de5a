# SPDX-License-Identifier: Apache-2.0
"""Tables and sentences of a run's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from s4m.evaluation import ApHistory
from s4m.evaluation.pseudo_label_quality import class_precisions
from s4m.visualization import curve, read_scalars

from .facts import objects_by_class

Coco = Mapping[str, Any]
#: Order of the networks in tables.
NETWORKS = ('supervised', 'teacher', 'student')
#: A table of more classes is folded.
FOLDED = 20
#: Fewer labelled objects of a class than this are named.
FEW_OBJECTS = 10
#: With fewer validation images than this, an AP is called uncertain.
FEW_IMAGES = 20
_AP = 'coco/segm_mAP'
_APS = (('AP', _AP), ('AP50', f'{_AP}_50'), ('AP75', f'{_AP}_75'))


@dataclass
class Table:
    """A table of a page.

    Attributes:
        head (list[str]): Names of the columns.
        rows (list[list[str]]): Cells of each row.
        best (int, optional): Row that is emphasised. Defaults to None.
        words (bool): Whether all columns are text, aligned to the left.
            Defaults to False: all but the first are numbers.
    """

    head: list[str]
    rows: list[list[str]]
    best: int | None = None
    words: bool = False


@dataclass
class Confusion:
    """Numbers of objects and predictions by class.

    Attributes:
        names (list[str]): Names of the classes.
        cells (list[list[tuple]]): (number, share of the row as a fraction) of
            each cell; empty where there are too many classes.
        largest (list[str]): The most frequent confusions as sentences.
    """

    names: list[str]
    cells: list[list[tuple[int, float]]] = field(default_factory=list)
    largest: list[str] = field(default_factory=list)


def networks_of(metrics: Mapping[str, Any]) -> list[str]:
    """List the networks that were evaluated, in the order of the tables."""
    return [name for name in NETWORKS if name in metrics]


def ap_table(metrics: Mapping[str, Mapping[str, float]], best: str) -> Table:
    """Make the table of the networks' AP x 100.

    Args:
        metrics (Mapping): Metrics of each network, as fractions.
        best (str): The best network.
    """
    names = networks_of(metrics)
    base = metrics[names[0]].get(_AP, 0.0)
    rows = []
    for name in names:
        values = [metrics[name].get(key, 0.0) for _, key in _APS]
        change = f'{100 * (values[0] - base):+.1f}'
        is_base = name == 'supervised'
        rows.append([name, *map(_percent, values), '' if is_base else change])
    head = ['network', *(name for name, _ in _APS), 'to supervised']
    if len(rows) == 1:
        head, rows = head[:-1], [row[:-1] for row in rows]
    where = names.index(best) if best in names else None
    return Table(head, rows, best=where)


def _percent(value: float) -> str:
    # COCO's -1: no object of this kind.
    return f'{100 * value:.1f}' if value >= 0 else '-'


def class_aps(
    truth: Coco, predictions: Coco, max_dets: int
) -> dict[str, float]:
    """Compute the mask AP x 100 of each class that has an object.

    Args:
        truth (Mapping): COCO dictionary of the validation images.
        predictions (Mapping): COCO dictionary of their predictions.
        max_dets (int): Number of an image's best predictions that count.
    """
    names = [c['name'] for c in truth['categories']]
    place = {c['id']: k for k, c in enumerate(truth['categories'], 1)}
    objects, entries = (
        [
            dict(dict(iscrowd=0), **a)
            | {'category_id': place[a['category_id']]}
            for a in data['annotations']
        ]
        for data in (truth, predictions)
    )
    return class_precisions(
        truth['images'], objects, entries, names, max_dets
    )[1]


def class_table(
    labeled: Coco,
    validation: Coco | None,
    pseudo: Coco | None,
    aps: Mapping[str, Mapping[str, float]],
) -> Table:
    """Make the table of the classes.

    Args:
        labeled (Mapping): COCO dictionary of the labelled images.
        validation (Mapping, optional): That of the validation images.
        pseudo (Mapping, optional): That of the pseudo-labels.
        aps (Mapping): AP x 100 of each class for each network.
    """
    networks = networks_of(aps)
    head = ['class', *(f'AP {network}' for network in networks), 'labelled']
    counts = [objects_by_class(labeled)]
    for name, data in (
        ('to validate', validation),
        ('pseudo-labels', pseudo),
    ):
        if data is not None:
            head.append(name)
            counts.append(objects_by_class(data))
    rows = []
    for name in counts[0]:
        row = [name]
        for network in networks:
            value = aps[network].get(name)
            row.append('-' if value is None else f'{value:.1f}')
        rows.append(row + [str(c.get(name, 0)) for c in counts])
    return Table(head, rows)


def confusion_view(matrix: np.ndarray, names: Sequence[str]) -> Confusion:
    """Describe a confusion matrix as a table or, with many classes, a list.

    Args:
        matrix (ndarray): (K + 1, K + 1) result of
            :func:`s4m.evaluation.image_matches.confusion_of`.
        names (Sequence[str]): K class names.
    """
    view = Confusion(list(names))
    totals = matrix.sum(1)
    k = len(names)
    if k <= FOLDED:
        view.cells = [
            [(int(n), float(n) / max(1, int(total))) for n in row]
            for row, total in zip(matrix, totals, strict=True)
        ]
    wrong = matrix[:k, :k].copy()
    np.fill_diagonal(wrong, 0)
    most = 5 if view.cells else 20
    for index in np.argsort(-wrong, axis=None, kind='stable')[:most]:
        row, column = divmod(int(index), k)
        if wrong[row, column] == 0:
            break
        view.largest.append(
            f'{wrong[row, column]} of {totals[row]} objects of '
            f'{names[row]} are predicted as {names[column]}'
        )
    return view


def stage_table(
    seconds: Mapping[str, float], folders: Mapping[str, Path]
) -> Table:
    """Make the table of each stage's time and memory.

    Args:
        seconds (Mapping): Seconds of each stage's training.
        folders (Mapping): Work directory of each stage.
    """
    rows, has_memory = [], False
    for name, folder in folders.items():
        scalars = read_scalars(folder)
        times = [value for _, value in curve(scalars, 'time')]
        memory = [value for _, value in curve(scalars, 'memory')]
        has_memory |= bool(memory)
        rows.append(
            [
                name,
                str(scalars[-1][0]) if scalars else '-',
                duration(seconds.get(name, 0.0)),
                f'{np.median(times):.2f} s' if times else '-',
                f'{max(memory) / 1024:.1f} GiB' if memory else '-',
            ]
        )
    head = ['stage', 'iterations', 'time', 'per iteration', 'GPU memory']
    if not has_memory:
        head, rows = head[:-1], [row[:-1] for row in rows]
    return Table(head, rows)


def duration(seconds: float) -> str:
    """Say how long something took.

    Example:
        >>> duration(42), duration(500), duration(9000)
        ('42 s', '8.3 min', '2.5 h')
    """
    if seconds < 90:
        return f'{seconds:.0f} s'
    if seconds < 5400:
        return f'{seconds / 60:.1f} min'
    return f'{seconds / 3600:.1f} h'


def ap_sentences(
    info: Mapping[str, Any], folders: Mapping[str, Path]
) -> list[str]:
    """Say what looks wrong with the APs of a run.

    Args:
        info (Mapping): Record of the run.
        folders (Mapping): Work directory of each stage.
    """
    sentences = []
    metrics, images = info['metrics'], info['facts']['validation']
    if not metrics:
        return [
            'There are no validation images: nobody knows how good the '
            'network is. Label 6 images or more, or name others with --val.'
        ]
    if images < FEW_IMAGES:
        sentences.append(
            f'{_some(images, "validation image")}: with so few, an AP is '
            'uncertain, and small differences mean nothing.'
        )
    if info['best'] == 'supervised' and len(metrics) > 1:
        sentences.append(
            'The unlabelled images did not help: the supervised network is '
            'the best one.'
        )
    for name, folder in folders.items():
        history, falls = ApHistory(), False
        for step, ap in curve(read_scalars(folder), f'{name}/{_AP}', _AP):
            falls = history.add(step, ap) or (
                falls and ap < history.best['ap']
            )
        if falls:
            sentences.append(f'{history.describe_fall(f"AP of {name}")}.')
        elif history.entries and (
            history.best['ap'] - history.entries[-1]['ap'] >= 0.01
        ):
            sentences.append(
                f'{history.describe_end(f"AP of {name}")} The best '
                'checkpoint was kept.'
            )
    return sentences


def class_sentences(
    labeled: Coco,
    validation: Coco | None,
    pseudo: Coco | None,
    aps: Mapping[str, float],
) -> list[str]:
    """Say which classes have too little of something.

    Args:
        labeled (Mapping): COCO dictionary of the labelled images.
        validation (Mapping, optional): That of the validation images.
        pseudo (Mapping, optional): That of the pseudo-labels.
        aps (Mapping): AP x 100 of each class for the best network.
    """
    sentences = []
    counts = objects_by_class(labeled)
    few = [f'{n} ({c})' for n, c in counts.items() if c < FEW_OBJECTS]
    if few:
        sentences.append(
            f'Fewer than {FEW_OBJECTS} labelled objects: {_list(few)}.'
        )
    if validation is not None:
        shown = objects_by_class(validation)
        missing = [name for name, n in shown.items() if n == 0]
        if missing:
            sentences.append(
                f'No validation image shows {_list(missing)}: the AP of '
                'these classes is not known.'
            )
        zero = [name for name in shown if aps.get(name) == 0]
        if zero:
            sentences.append(f'AP 0: {_list(zero)}.')
    if pseudo is not None:
        made = objects_by_class(pseudo)
        without = [name for name, n in made.items() if n == 0]
        if without:
            sentences.append(
                f'No pseudo-label of the class {_list(without)}: the '
                'network finds none in the unlabelled images. Label more of '
                'them.'
            )
        images = Counter(a['image_id'] for a in pseudo['annotations'])
        empty = len(pseudo['images']) - len(images)
        if empty:
            sentences.append(
                f'{_some(empty, "unlabelled image")} of '
                f'{len(pseudo["images"])} without a pseudo-label.'
            )
    return sentences


def _some(number: int, what: str) -> str:
    return f'{number} {what}' + ('' if number == 1 else 's')


def _list(names: Sequence[str], most: int = 20) -> str:
    rest = len(names) - most
    return ', '.join(names[:most]) + (f' and {rest} more' if rest > 0 else '')
