# SPDX-License-Identifier: Apache-2.0
"""Images beside label files that tools want there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from s4m.utils.whole_files import write_whole


def place_image(root: Path, name: str, folder: Path) -> None:
    """Put an image into a folder: a hard link, or a copy on another disk.

    Nothing happens where the image does not exist, or the link does.

    Args:
        root (Path): Folder of the images.
        name (str): Name of the image relative to it.
        folder (Path): Where the image goes, with its sub-folders.
    """
    source, target = root / name, folder / name
    if not source.is_file() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        with write_whole(target) as partial:
            shutil.copyfile(source, partial)
