# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def write_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Give a name to write to, and move the file into place at the end.

    A file of that name stays as it was until then, and for ever if the block
    fails; what was half-written is removed.

    Args:
        path: Of the finished file; its folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name}.partial')
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, data: Any, **kwargs) -> None:
    """Write a JSON file whole; ``kwargs`` are those of ``json.dump``."""
    with write_whole(path) as partial, partial.open('w') as f:
        json.dump(data, f, **kwargs)
        f.write('\n')
