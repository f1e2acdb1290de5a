# SPDX-License-Identifier: Apache-2.0
"""Write files whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def write_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file whole or not at all.

    The block writes to a temporary file, which replaces ``path`` at the end
    of the block. If the block fails, an older file stays unchanged and the
    temporary file is removed.

    Args:
        path: The finished file; its folder is made.

    Yields:
        Path: The temporary file, in the same folder.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / 'notes.txt'
        >>> with write_whole(file) as partial:
        ...     _ = partial.write_text('whole')
        >>> file.read_text()
        'whole'
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
    """Write a JSON file whole or not at all.

    Args:
        path: The file; its folder is made.
        data: Value that ``json`` can write.
        **kwargs: Arguments of ``json.dump``.

    Raises:
        TypeError: if ``json`` cannot write the data.
    """
    with write_whole(path) as partial, partial.open('w') as f:
        json.dump(data, f, **kwargs)
        f.write('\n')
