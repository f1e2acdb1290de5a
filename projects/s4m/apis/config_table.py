# SPDX-License-Identifier: Apache-2.0
"""Make the tables of configs/README.md from the configs and the papers' AP."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

from mmengine.fileio import load

_TABLE = re.compile(
    r'(<!-- (rows|list): ([^>]+?) -->\n).*?(<!-- end -->)', re.DOTALL
)


def update_tables(readme: str, configs: str | Path) -> str:
    """Replace the tables of a README by tables of the config files.

    A table stands between ``<!-- rows: PATTERN ... -->`` and ``<!-- end -->``,
    where a pattern matches names of configs. ``rows`` makes one row of the
    configs that differ in the percentage of labels, with the published AP per
    percentage; ``list`` makes one row per config, with the published AP and
    the comment that the file begins with.

    Args:
        readme (str): Text of the README.
        configs (str | Path): Folder of the configs; ``published_ap.yml`` in
            it has the AP by config name.

    Returns:
        str: The text with current tables.

    Raises:
        ValueError: If a pattern matches no config, or ``published_ap.yml``
            names a config that does not exist.
    """
    root = Path(configs)
    paths = {
        path.stem: path
        for path in sorted(root.rglob('*.py'))
        if '_base_' not in path.parts
    }
    published = load(str(root / 'published_ap.yml'))
    unknown = sorted(published.keys() - paths.keys())
    if unknown:
        raise ValueError(
            f'{root}/published_ap.yml names {", ".join(unknown)}, but there '
            'is no config of this name: rename or remove the entry'
        )

    def table(match: re.Match) -> str:
        stems: list[str] = []
        for pattern in match[3].split():
            matched = [s for s in paths if fnmatch(s, pattern)]
            if not matched:
                raise ValueError(f'No config matches {pattern!r} of a table')
            stems += [s for s in matched if s not in stems]
        make = _rows if match[2] == 'rows' else _list
        chosen = {s: paths[s].relative_to(root) for s in stems}
        lines = make(chosen, published, root)
        return match[1] + '\n' + '\n'.join(lines) + '\n\n' + match[4]

    return _TABLE.sub(table, readme)


def split_percent(stem: str) -> tuple[str, int]:
    """Split a config's name into the name of its row and its percentage.

    The percentage of a config that is not named after one is 0.

    Example:
        >>> split_percent('s4m_cityscapes_10p')
        ('s4m_cityscapes_', 10)
    """
    match = re.fullmatch(r'(.+_)(\d+)p', stem)
    return (match[1], int(match[2])) if match else (stem, 0)


def _rows(
    paths: dict[str, Path], published: dict[str, float], root: Path
) -> list[str]:
    rows: dict[tuple[Path, str], list[int]] = {}
    for stem, path in paths.items():
        name, percent = split_percent(stem)
        rows.setdefault((path.parent, name), []).append(percent)
    columns = sorted({p for percents in rows.values() for p in percents})
    lines = [
        '| config |' + ''.join(f' {c} % |' for c in columns),
        '|---|' + '---|' * len(columns),
    ]
    for (folder, name), percents in rows.items():
        numbers = ','.join(str(p) for p in sorted(percents))
        if len(percents) > 1:
            numbers = f'{{{numbers}}}'
        file = f'{name}.py' if percents == [0] else f'{name}{numbers}p.py'
        cells = []
        for column in columns:
            stem = name if column == 0 else f'{name}{column}p'
            missing = '-' if column in percents else ''
            cells.append(str(published.get(stem, missing)))
        lines.append(f'| `{folder / file}` | {" | ".join(cells)} |')
    return lines


def _list(
    paths: dict[str, Path], published: dict[str, float], root: Path
) -> list[str]:
    with_ap = any(stem in published for stem in paths)
    lines = ['| config | AP | |', '|---|---|---|']
    if not with_ap:
        lines = ['| config | |', '|---|---|']
    for stem, path in paths.items():
        cells = [f'`{path}`']
        if with_ap:
            cells.append(str(published.get(stem, '-')))
        cells.append(config_comment(root / path))
        lines.append(f'| {" | ".join(cells)} |')
    return lines


def config_comment(path: Path) -> str:
    """Read the comment that a config begins with as one line."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith('#'):
            break
        lines.append(line[1:].strip())
    return ' '.join(lines)
