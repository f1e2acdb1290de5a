# SPDX-License-Identifier: Apache-2.0
"""Write the page of a run: results, labels and what looks wrong."""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s4m.apis.config import get_config
from s4m.datasets.coco_io import read_coco
from s4m.evaluation.image_matches import best_threshold, confusion_of
from s4m.version import __version__
from s4m.visualization.curves import drift_plots, training_plots
from s4m.visualization.pages import write_page
from s4m.visualization.svg_plots import legend_of, svg_plot

from . import report_tables as tables
from .label_doubts import (
    CONFIDENT,
    Doubt,
    find_doubts,
    group_by_image,
    match_all,
)
from .networks import max_detections
from .report_data import (
    predict_labeled,
    predict_validation,
    refine_labels,
)
from .report_pictures import (
    choose_examples,
    doubt_text,
    doubt_thumbs,
    prediction_row,
    pseudo_label_row,
)
from .report_texts import (
    decision_table,
    next_commands,
    request_table,
    sets_table,
    summary_of,
)
from .run_folder import RunFolder, open_run

#: Least score of a prediction in a picture, as in ``s4m predict``.
SCORE_THR = 0.3
#: Numbers of pictures: rows of pseudo-labels, thumbnails of doubts.
_PSEUDO_ROWS, _THUMBS = 4, 16
#: Thumbnails of one image.
_PER_IMAGE = 4
#: Doubts that are listed by file name.
_LISTED = 300


@dataclass
class _Parts:
    """What the sections of a page are made from.

    Attributes:
        run (RunFolder): The run.
        info (dict): Its record.
        labeled (dict): COCO dictionary of the labelled images.
        validation (dict, optional): That of the validation images.
        pseudo (dict, optional): That of the pseudo-labels.
        names (dict[int, str]): Class names by category id.
        cfg (Config): Config of the last stage.
        folders (dict[str, Path]): Work directory of each stage.
    """

    run: RunFolder
    info: dict[str, Any]
    labeled: dict[str, Any]
    validation: dict[str, Any] | None
    pseudo: dict[str, Any] | None
    names: dict[int, str]
    cfg: Any
    folders: dict[str, Path]


def report(path: str | os.PathLike) -> Path:
    """Write the page of a run again.

    Networks predict again only where weights or images have changed.

    Args:
        path: Folder of a finished run.

    Returns:
        Path: the page, ``report.html``.

    Raises:
        FileNotFoundError: if the folder is no run.
        ValueError: if the run is damaged or unfinished.

    Example::

        report('runs/apples')
    """
    return write_report(open_run(path))


def write_report(run: RunFolder) -> Path:
    """Write the page of a run, which needs no other file.

    Args:
        run (RunFolder): A finished run.

    Returns:
        Path: the page.

    Raises:
        ValueError: if the run is damaged or unfinished.
    """
    parts = _read(run)
    info = parts.info
    predictions = _predictions(parts)
    pseudo = _pseudo_labels(parts)
    doubts = _doubts(parts)
    wrong = [
        *tables.ap_sentences(info, parts.folders),
        *tables.class_sentences(
            parts.labeled,
            parts.validation,
            parts.pseudo,
            predictions['aps'].get(info['best'], {}),
        ),
        *doubts.pop('sentences'),
    ]
    return write_page(
        run.report,
        'own_report.html',
        title=run.path.absolute().name,
        summary=summary_of(info),
        sets=sets_table(info['facts'], parts.validation, parts.pseudo),
        request=request_table(info),
        notes=info.get('notes', []),
        decisions=decision_table(info),
        ap=tables.ap_table(info['metrics'], info['best'])
        if info['metrics']
        else None,
        classes=tables.class_table(
            parts.labeled,
            parts.validation,
            parts.pseudo,
            predictions['aps'],
        ),
        folded=tables.FOLDED,
        curves=_curves(parts.folders),
        predictions=predictions,
        pseudo=pseudo,
        wrong=wrong,
        doubts=doubts,
        stages=tables.stage_table(info['seconds'], parts.folders),
        commands=next_commands(run.path),
        version=__version__,
        date=str(datetime.date.today()),
    )


def _read(run: RunFolder) -> _Parts:
    """Read the files of a run."""
    info = run.read()
    if 'best' not in info:
        raise ValueError(
            f'{run.path} is not finished: s4m train --out {run.path} goes on'
        )
    needs = ('images', 'annotations', 'categories')
    labeled = read_coco(run.data / 'labeled.json', needs)
    val, pseudo = run.data / 'val.json', run.pseudo_labels
    return _Parts(
        run,
        info,
        labeled,
        read_coco(val, needs) if val.is_file() else None,
        read_coco(pseudo, needs) if pseudo.is_file() else None,
        {c['id']: c['name'] for c in labeled['categories']},
        get_config(run.config),
        {name: stage.makes for name, stage in run.stages().items()},
    )


def _curves(folders: Mapping[str, Path]) -> dict[str, Any]:
    """Draw what the stages have logged."""
    plots = [*drift_plots(folders), *training_plots(folders)]
    plots = [plot for plot in plots if any(x.points for x in plot.lines)]
    drawn: dict[str, str] = {}
    for plot in plots:
        title = plot.title
        if title.startswith('AP') and 'student' not in folders:
            title = 'AP'
        unit = f', {plot.y_label}' if plot.y_label else ''
        # Two plots of one quantity: the first has more values.
        drawn.setdefault(title + unit, svg_plot(plot))
    return dict(plots=list(drawn.items()), legend=legend_of(plots))


def _predictions(parts: _Parts) -> dict[str, Any]:
    """Predict the validation images, and compare with their labels."""
    shown: dict[str, Any] = dict(aps={}, groups={}, confusion=None)
    if parts.validation is None:
        return shown
    best, aps = parts.info['best'], {}
    for network in tables.networks_of(parts.info['metrics']):
        found = predict_validation(parts.run, network)
        aps[network] = tables.class_aps(
            parts.validation, found, max_detections(parts.cfg)
        )
        if network == best:
            matches = match_all(parts.validation, found)
    root = parts.cfg.test_dataloader.dataset.data_prefix.img
    groups = {}
    for name, chosen in choose_examples(matches, SCORE_THR).items():
        groups[name] = [
            prediction_row(root, *matches[i], parts.names, SCORE_THR)
            for i in chosen
        ]
    images = [found for _, found in matches]
    matrix = confusion_of(images, list(parts.names), SCORE_THR)
    threshold, f1 = best_threshold(images)
    return dict(
        aps=aps,
        groups=groups,
        network=best,
        score_thr=SCORE_THR,
        threshold=f'{threshold:.2f}',
        f1=f'{f1:.2f}',
        confusion=tables.confusion_view(matrix, list(parts.names.values())),
    )


def _pseudo_labels(parts: _Parts) -> dict[str, Any] | None:
    """Draw pseudo-labels of some unlabelled images."""
    data = parts.pseudo
    if data is None:
        return None
    groups = group_by_image(data['annotations'])
    # A teacher keeps what it is sure of, so that other images show nothing.
    sure = {
        a['image_id'] for a in data['annotations'] if a['score'] >= CONFIDENT
    }
    images = [i for i in data['images'] if i['id'] in (sure or groups)]
    images = images or data['images']
    step = max(1, len(images) // _PSEUDO_ROWS)
    chosen = images[::step][:_PSEUDO_ROWS]
    is_refined = parts.cfg.model.get('refiner') is not None
    if is_refined:
        rows = [
            (row['image'], row['before'], row['after'])
            for row in refine_labels(parts.run, chosen)
        ]
    else:
        rows = [(i, groups.get(i['id'], []), None) for i in chosen]
    root = parts.cfg.unlabeled_images
    return dict(
        refined=is_refined,
        network=parts.info['best'],
        labels=sum(len(before) for _, before, _ in rows),
        rows=[pseudo_label_row(root, *row, parts.names) for row in rows],
    )


def _doubts(parts: _Parts) -> dict[str, Any]:
    """Find the labels that the best network contradicts."""
    found = predict_labeled(parts.run, parts.info['best'])
    matches = match_all(parts.labeled, found)
    doubts = find_doubts(matches)
    labels = group_by_image(parts.labeled['annotations'])
    kinds = {
        kind: sum(d.kind == kind for d in doubts)
        for kind in ('class', 'unlabelled', 'missed')
    }
    objects = sum(len(m.objects) for _, m in matches)
    right = sum(int(m.right[m.scores >= SCORE_THR].sum()) for _, m in matches)
    sentences = []
    if right < objects / 2:
        sentences.append(
            f'The network finds {right} of the {objects} labelled objects it '
            'was trained on: it has not learned them yet, and its doubts '
            'about labels say little. Train longer.'
        )
    return dict(
        sentences=sentences,
        images=len(matches),
        confident=CONFIDENT,
        kinds=kinds,
        thumbs=doubt_thumbs(
            _some_of_each(doubts),
            labels,
            parts.cfg.labeled_images,
            parts.names,
        ),
        listed=[
            (d.image['file_name'], doubt_text(d, parts.names))
            for d in doubts[:_LISTED]
        ],
        total=len(doubts),
    )


def _some_of_each(doubts: list[Doubt]) -> list[Doubt]:
    """Choose the first doubts, not all of one image."""
    seen: Counter[Any] = Counter()
    chosen: list[Doubt] = []
    for doubt in doubts:
        seen[doubt.image['id']] += 1
        if seen[doubt.image['id']] <= _PER_IMAGE and len(chosen) < _THUMBS:
            chosen.append(doubt)
    return chosen
