# SPDX-License-Identifier: Apache-2.0
"""Suggest the images whose labels would teach most."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from s4m.apis.config import get_config
from s4m.apis.photos import (
    PathLike,
    check_new,
    check_some_readable,
    common_folder,
    find_photos,
)
from s4m.apis.prediction import load_model
from s4m.datasets.coco_io import read_coco
from s4m.utils.whole_files import write_whole

from .contact_sheet import contact_sheet
from .facts import objects_by_class
from .image_scores import ImageScorer
from .labelling import LabelResult, check_format, label_files
from .networks import Network, choose_network
from .run_folder import RunFolder, open_run
from .suggestion_terms import average_rank, class_rarity, select_spread


@dataclass(frozen=True)
class Suggestion:
    """An image that was chosen.

    Attributes:
        file (Path): The image.
        score (float): Value times spread, by which it was chosen.
        value (float): Mean rank of the terms in the folder, 0..1.
        spread (float): Distance to the nearest image that was labelled or
            chosen before, 0..1.
        terms (dict[str, float]): ``uncertainty``, ``views``, ``sam``,
            ``rare``, as far as they were computed, 0..1.
    """

    file: Path
    score: float
    value: float
    spread: float
    terms: dict[str, float]


@dataclass(frozen=True)
class SuggestResult:
    """What ``s4m suggest`` made.

    Attributes:
        out (Path): Folder of the results.
        chosen (tuple[Suggestion, ...]): The images, best first.
        list (Path): They as a table.
        contact_sheet (Path): They as a picture, with pre-labels.
        prelabels (LabelResult): Their pre-labels.
        broken (tuple[Path, ...]): Files that could not be read.
        notes (tuple[str, ...]): What was left out, a line each.
    """

    out: Path
    chosen: tuple[Suggestion, ...]
    list: Path
    contact_sheet: Path
    prelabels: LabelResult
    broken: tuple[Path, ...]
    notes: tuple[str, ...]


def suggest(
    run: str | os.PathLike,
    images: PathLike | Sequence[PathLike],
    *,
    num: int = 20,
    out: str | os.PathLike,
    format: str = 'coco',
    network: str | None = None,
    batch_size: int = 4,
    device: str | None = None,
) -> SuggestResult:
    """Choose the unlabelled images whose labels would teach most.

    The value of an image is the mean of its ranks in up to four terms of
    :mod:`~s4m.apis.own_data.suggestion_terms`: ``uncertainty`` of the
    scores, disagreement of the predictions of the image and its mirror image
    (``views``), of the masks and SAM 2's (``sam``), and the rarest class
    (``rare``). ``sam`` needs a run with SAM 2, ``rare`` two classes. Images
    are chosen one by one by their value times their distance to the nearest
    image that is labelled or chosen. Images that the run has labels of are
    left out.

    Args:
        run: Folder that ``s4m train --out`` named.
        images: Folder of images, image, pattern, or several of them.
        num (int): Number of images to choose. Defaults to 20.
        out: Folder that gets ``list.csv``, ``contact_sheet.jpg`` and
            ``prelabels.json``, and the folder ``FORMAT`` for another format.
        format (str): Format that the annotation tool imports, see
            :mod:`s4m.datasets.formats`. Defaults to ``coco``.
        network (str, optional): ``supervised``, ``student`` or ``teacher``.
            Defaults to None, the best.
        batch_size (int): Number of images in a batch. Defaults to 4.
        device (str, optional): ``cuda:0``, ``cpu`` ... Defaults to None, a
            GPU if there is one.

    Returns:
        SuggestResult: the chosen images and places.

    Raises:
        FileNotFoundError: if there is no run, model or image.
        FileExistsError: if ``out`` has files.
        ValueError: if the network or the format is unknown, no file is an
            image, or there are fewer than ``num`` unlabelled ones.

    Example::

        from s4m.apis.own_data import suggest

        result = suggest('runs/apples', 'photos/', num=20, out='next')
        [s.file.name for s in result.chosen]
    """
    folder = open_run(run)
    chosen = choose_network(folder, network)
    target = check_new(out)
    check_format(format)
    if num < 1:
        raise ValueError(f'--num must be at least 1, got {num}')
    labeled = _labeled_files(folder)
    files = find_photos(images)
    real = {os.path.realpath(file) for group in labeled for file in group}
    new = [file for file in files if os.path.realpath(file) not in real]
    notes = []
    if len(new) < len(files):
        notes.append(
            f'{len(files) - len(new)} images have labels in the run and are '
            'left out'
        )
    _check_number(num, len(new), images)
    scorer, rarity_note = _scorer(folder, chosen, batch_size, device)
    notes += rarity_note
    scores = scorer.score(new)
    check_some_readable(len(scores.files), scores.broken, 'images')
    _check_number(num, len(scores.files), images)
    present = [file for file in labeled[0] if file.is_file()]
    if len(present) < len(labeled[0]):
        notes.append(
            f'{len(labeled[0]) - len(present)} labelled images do not exist '
            'any more: the spread ignores them'
        )
    known = scorer.features(present) if present else None
    value = average_rank(scores.terms)
    picked = tuple(
        Suggestion(
            scores.files[k],
            gain,
            float(value[k]),
            spread,
            {name: float(v[k]) for name, v in scores.terms.items()},
        )
        for k, gain, spread in select_spread(
            value, scores.features, num, known
        )
    )
    made = label_files(
        chosen,
        [suggestion.file for suggestion in picked],
        out=target,
        classes=folder.read()['classes'],
        format=format,
        device=device,
        name='prelabels.json',
    )
    table = target / 'list.csv'
    write_list(table, picked)
    sheet = target / 'contact_sheet.jpg'
    picture = contact_sheet(
        [suggestion.file for suggestion in picked],
        [f'{s.score:.2f} {s.file.name}' for s in picked],
        _masks(made.labels, [suggestion.file for suggestion in picked]),
    )
    if not cv2.imwrite(str(sheet), picture):
        raise OSError(f'The picture {sheet} cannot be written')
    return SuggestResult(
        target,
        picked,
        table,
        sheet,
        made,
        tuple(scores.broken),
        tuple(notes),
    )


def _masks(labels: Path, files: Sequence[Path]) -> list[list[dict]]:
    """Return the RLE masks of each file, the best score last."""
    data = read_coco(labels)
    root = common_folder(files)
    ids = {image['file_name']: image['id'] for image in data['images']}
    masks: dict[Any, list[dict]] = {number: [] for number in ids.values()}
    for entry in reversed(data['annotations']):
        masks[entry['image_id']].append(entry['segmentation'])
    names = (Path(os.path.abspath(f)).relative_to(root) for f in files)
    return [masks[ids[name.as_posix()]] for name in names]


def _check_number(num: int, there: int, images: Any) -> None:
    """Refuse to choose more images than there are."""
    if num > there:
        raise ValueError(
            f'--num {num}: there are {there} unlabelled images that can be '
            f'read at {images}'
        )


def _labeled_files(run: RunFolder) -> tuple[list[Path], list[Path]]:
    """Return the labelled images and the validation images of a run."""
    cfg = get_config(run.config)
    roots = {
        'labeled.json': cfg.get('labeled_images'),
        'val.json': cfg.test_dataloader.dataset.data_prefix.img,
    }
    found = []
    for name, root in roots.items():
        file = run.data / name
        entries = read_coco(file)['images'] if file.is_file() else []
        found.append([Path(root or '', e['file_name']) for e in entries])
    return found[0], found[1]


def _scorer(
    run: RunFolder, network: Network, batch_size: int, device: str | None
) -> tuple[ImageScorer, list[str]]:
    """Load the network; say which terms there are not."""
    cfg = get_config(network.config)
    model, classes = load_model(
        cfg, network.checkpoint, device, network.branch
    )
    notes = []
    rarity: torch.Tensor | None = None
    if len(classes) > 1:
        numbers = objects_by_class(read_coco(run.data / 'labeled.json'))
        rarity = class_rarity([numbers.get(name, 0) for name in classes])
    else:
        notes.append('there is one class: the term rare is left out')
    if network.refiner is None:
        notes.append('the run has no SAM 2: the term sam is left out')
    scorer = ImageScorer(
        model,
        cfg.test_dataloader.dataset.pipeline,
        rarity,
        network.refiner,
        batch_size,
    )
    return scorer, notes


def write_list(path: Path, chosen: Sequence[Suggestion]) -> None:
    """Write the chosen images as a table, best first.

    Args:
        path (Path): CSV file to write.
        chosen (Sequence[Suggestion]): The images.
    """
    with write_whole(path) as partial, partial.open('w', newline='') as f:
        rows = csv.writer(f)
        names = list(chosen[0].terms) if chosen else []
        rows.writerow(['file', 'score', 'value', 'spread', *names])
        for s in chosen:
            numbers = [s.score, s.value, s.spread, *s.terms.values()]
            rows.writerow([s.file, *(f'{n:.4f}' for n in numbers)])
