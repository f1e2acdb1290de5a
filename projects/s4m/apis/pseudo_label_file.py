# SPDX-License-Identifier: Apache-2.0
"""Identify files of pseudo-labels, and write them in resumable parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, get_dist_info

from s4m.utils.whole_files import write_json

Annotations = list[dict[str, Any]]


def annotations_digest(annotations: Annotations) -> str:
    """Compute the SHA-256 of annotations, which detects an edited file."""
    text = json.dumps(annotations, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def keep_or_set_aside(out: str | Path, settings: dict[str, str]) -> bool:
    """Keep a file of pseudo-labels if making it again would not change it.

    A file of another teacher or of other options is renamed to ``*.old``, and
    a line on stdout says why.

    Args:
        out (str | Path): File, which may be missing.
        settings (dict): ``PseudoLabelGenerator(...).settings`` of the
            requested file. Configs are compared by name, since folders may
            have moved; weights and lists of images by content.

    Returns:
        bool: whether the file exists now.

    Raises:
        ValueError: if the file was not made by a ``PseudoLabelGenerator``, or
            has been edited since and has other settings.
    """
    out = Path(out)
    if not out.is_file():
        return False
    advice = (
        'Move it away to have it made again, or train the stage that reads it '
        'with tools/train.py.'
    )
    try:
        data = json.loads(out.read_bytes())
        info = dict(data['info'])
        edited = info['annotations_sha256'] != annotations_digest(
            data['annotations']
        )
    except (ValueError, TypeError, KeyError) as e:
        raise ValueError(
            f'{out} was not made by this version of '
            'tools/generate_pseudo_labels.py: it does not say which teacher '
            f'made it. {advice}'
        ) from e
    wanted = dict(settings)
    for known in (info, wanted):
        known['config'] = Path(known.get('config', '')).stem
    del wanted['batch_size']  # changes the results by rounding at most
    for name in ('checkpoint', 'images'):
        if f'{name}_sha256' in wanted:
            del wanted[name]
    what = ', '.join(
        f'another {k.removesuffix("_sha256")}'
        if k.endswith('_sha256')
        else f'{k} {info.get(k)} instead of {wanted[k]}'
        for k in wanted
        if info.get(k) != wanted[k]
    )
    if not what:
        return True
    if edited:
        raise ValueError(f'{out} was edited, and has {what}. {advice}')
    old = out.with_name(f'{out.name}.old')
    out.replace(old)
    print(
        f'{out} has {what}: it is made again, the former file is {old.name} '
        'now'
    )
    return False


class PseudoLabelParts:
    """Stores the results of images until all of them are finished.

    Each process appends to a separate file, one line of JSON for each image.
    A line that was cut off when a process was killed is removed when the next
    run begins, which may have fewer processes.

    Args:
        out (Path): Name of the finished file; the parts are in
            ``{out}.parts``.
        settings (dict): Settings of the run. It resumes only from parts with
            the same settings.

    Raises:
        ValueError: if the parts were made with other settings.
    """

    def __init__(self, out: Path, settings: dict[str, str]) -> None:
        self.folder = out.with_name(f'{out.name}.parts')
        rank, _ = get_dist_info()
        file = self.folder / 'settings.json'
        if rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not file.is_file():
                write_json(file, settings, indent=1)
        barrier()
        known = json.loads(file.read_text())
        if known != settings:
            differ = [k for k in settings if known.get(k) != settings[k]]
            raise ValueError(
                f'{self.folder} was begun with another {", ".join(differ)}. '
                'Remove it to begin anew, or name another file (--out).'
            )
        self.file = self.folder / f'{rank}.jsonl'
        if rank == 0:
            # No process appends before the barrier.
            for part in self.folder.glob('*.jsonl'):
                _cut_torn_line(part)
        barrier()

    def read(self) -> dict[int, Annotations]:
        """Return the annotations of each finished image, by the image's id."""
        return {
            row['image']: row['annotations']
            for file in sorted(self.folder.glob('*.jsonl'))
            for row in map(json.loads, file.read_text().splitlines())
        }

    def add(self, rows: Iterable[tuple[int, Annotations]]) -> None:
        """Append pairs (image id, annotations) of some images."""
        with self.file.open('a') as f:
            for image, annotations in rows:
                row = dict(image=image, annotations=annotations)
                f.write(json.dumps(row) + '\n')

    def remove(self) -> None:
        """Remove the folder and the parts in it."""
        for file in self.folder.glob('*.json*'):
            file.unlink()
        self.folder.rmdir()


def _cut_torn_line(part: Path) -> None:
    """Remove the end of a file behind its last line break."""
    text = part.read_bytes()
    whole = text.rfind(b'\n') + 1
    if whole < len(text):
        with part.open('r+b') as f:
            f.truncate(whole)
