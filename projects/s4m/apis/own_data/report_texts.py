# SPDX-License-Identifier: Apache-2.0
"""What the page of a run says about its data and its settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .report_tables import Coco, Table

_METHODS = dict(
    s4m='S4M',
    guided_distillation='Guided Distillation',
    supervised='supervised training',
)


def summary_of(info: Mapping[str, Any]) -> str:
    """Say in a few words what was trained and what came out.

    Args:
        info (Mapping): Record of a run.
    """
    facts, classes = info['facts'], info['classes']
    what = f'{len(classes)} classes' if len(classes) > 1 else classes[0]
    text = (
        f'{info.get("model", "A network")} has learned {what} from '
        f'{facts["objects"]} objects in {facts["labeled"]} labelled images'
    )
    method = _METHODS.get(info.get('method', ''), '')
    if method and info['method'] != 'supervised':
        text += (
            f', and with {method} from {facts["unlabeled"]} unlabelled ones'
        )
    ap = {
        name: 100 * values.get('coco/segm_mAP', 0.0)
        for name, values in info['metrics'].items()
    }
    if not ap:
        return text + '. There are no validation images, and so no AP.'
    best = info['best']
    text += (
        f'. The {best} network is the best one: mask AP {ap[best]:.1f} on '
        f'{facts["validation"]} validation images'
    )
    if best != 'supervised' and 'supervised' in ap:
        text += f', {ap[best] - ap["supervised"]:+.1f} to supervised'
    return text + '.'


def sets_table(
    facts: Mapping[str, Any], validation: Coco | None, pseudo: Coco | None
) -> Table:
    """Make the table of the images and their objects.

    Args:
        facts (Mapping): Facts in the record of a run.
        validation (Mapping, optional): COCO dictionary of the validation
            images.
        pseudo (Mapping, optional): That of the pseudo-labels.
    """
    objects = {
        'labelled': (facts['labeled'], facts['objects']),
        'unlabelled': (
            facts['unlabeled'],
            len(pseudo['annotations']) if pseudo else None,
        ),
        'to validate': (
            facts['validation'],
            len(validation['annotations']) if validation else None,
        ),
    }
    rows = []
    for name, (images, count) in objects.items():
        known = '-' if count is None else str(count)
        if name == 'unlabelled' and count is not None:
            known = f'{count} pseudo-labels'
        rows.append([name, str(images), known])
    return Table(['', 'images', 'objects'], rows)


def request_table(info: Mapping[str, Any]) -> Table:
    """List the arguments in the record of a run."""
    rows = [[key, str(value)] for key, value in info['request'].items()]
    return Table(['argument', 'value'], rows, words=True)


def decision_table(info: Mapping[str, Any]) -> Table:
    """List the settings in the record of a run, and why they are so."""
    rows = [
        [d['setting'], d['value'], d['why']] for d in info.get('decisions', [])
    ]
    return Table(['setting', 'value', 'why'], rows, words=True)


def next_commands(folder: str | Path) -> list[tuple[str, str]]:
    """List what the next commands are for, and the commands.

    Args:
        folder (str | Path): Folder of the run.

    Example:
        >>> next_commands('runs/apples')[2][1]
        's4m predict runs/apples test_photos/ --out results'
    """
    path = shlex.quote(str(folder))
    return [
        (
            'Label new photos with this network, to correct by hand:',
            f's4m label {path} new_photos/ --out prelabels.json',
        ),
        (
            'Choose the images whose labels would help most:',
            f's4m suggest {path} more_photos/ --num 20',
        ),
        (
            'Predict images:',
            f's4m predict {path} test_photos/ --out results',
        ),
    ]
