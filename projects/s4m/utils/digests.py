# SPDX-License-Identifier: Apache-2.0
"""Identify files by their content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def file_digest(path: str | os.PathLike) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    # In pieces of 1 MiB: hashlib.file_digest needs Python 3.11.
    digest = hashlib.sha256()
    with Path(path).open('rb') as f:
        while piece := f.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
