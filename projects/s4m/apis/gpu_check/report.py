# SPDX-License-Identifier: Apache-2.0
"""Results of a part, written as soon as they exist."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def _plain(value: Any) -> Any:
    """Convert a value to what JSON holds, with 5 significant digits."""
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(f'{value:.5g}') if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value)


class Report:
    """Rows of tables of one part.

    Args:
        part (str): Name of the part.
        folder (Path, optional): Folder of ``PART.json``, which is written
            anew with each row. Defaults to None: nothing is written.

    Attributes:
        data (dict): ``part``, ``status``, ``seconds``, ``tables`` (rows by
            the name of the table) and ``errors``.

    Example:
        >>> report = Report('environment')
        >>> report.add('ceilings', what='copy', tb_s=1 / 3)
        [environment] ceilings: {"what": "copy", "tb_s": 0.33333}
        >>> report.data['tables']
        {'ceilings': [{'what': 'copy', 'tb_s': 0.33333}]}
    """

    def __init__(self, part: str, folder: Path | None = None) -> None:
        self.file = None if folder is None else folder / f'{part}.json'
        self.began = time.monotonic()
        self.data: dict[str, Any] = dict(
            part=part, status='running', seconds=0.0, tables={}, errors=[]
        )
        self.save()

    def add(self, table: str, **row: Any) -> None:
        """Add a row to a table, and save."""
        row = _plain(row)
        self.data['tables'].setdefault(table, []).append(row)
        print(f'[{self.data["part"]}] {table}: {json.dumps(row)}', flush=True)
        self.save()

    def error(self, where: str, text: str) -> None:
        """Record what failed, and save."""
        last = text.strip().splitlines()[-12:]
        self.data['errors'].append(dict(where=where, lines=last))
        print(f'[{self.data["part"]}] {where} FAILED', *last, sep='\n  ')
        self.save()

    def finish(self, status: str) -> None:
        """Set the status, and save."""
        self.data['status'] = status
        self.save()

    def save(self) -> None:
        """Write the file."""
        self.data['seconds'] = round(time.monotonic() - self.began, 1)
        if self.file is not None:
            write(self.file, json.dumps(self.data, indent=1))


def write(file: Path, text: str) -> None:
    """Replace a file, which is never half written."""
    part = file.with_name(file.name + '.part')
    part.write_text(text)
    part.replace(file)


def markdown(results: Iterable[Mapping[str, Any]]) -> str:
    """Convert the results of all parts to tables.

    Args:
        results (Iterable[Mapping]): :attr:`Report.data` of each part.

    Example:
        >>> report = Report('environment')
        >>> report.add('card', name='H100')
        [environment] card: {"name": "H100"}
        >>> print(markdown([report.data]))
        ## environment: running, 0.0 s
        <BLANKLINE>
        **card**
        <BLANKLINE>
        | name |
        |---|
        | H100 |
        <BLANKLINE>
    """
    lines: list[str] = []
    for data in results:
        lines += [
            f'## {data["part"]}: {data["status"]}, {data["seconds"]} s',
            '',
        ]
        for name, rows in data['tables'].items():
            heads = list(dict.fromkeys(key for row in rows for key in row))
            lines += [f'**{name}**', '', _row(heads)]
            lines.append('|' + '---|' * len(heads))
            lines += [_row([row.get(h, '') for h in heads]) for row in rows]
            lines.append('')
        for error in data['errors']:
            lines += [f'**{error["where"]} failed**', '', '```']
            lines += [*error['lines'], '```', '']
    return '\n'.join(lines)


def _row(values: Iterable[Any]) -> str:
    cells = (str(value).replace('|', '/') for value in values)
    return '| ' + ' | '.join(cells) + ' |'
