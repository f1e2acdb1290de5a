# SPDX-License-Identifier: Apache-2.0
"""Load images at several sizes and mirrored, for test-time augmentation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import Compose
from torch.utils.data import Dataset


class ImageViews(Dataset):
    """Loads each image of a COCO file at several sizes and mirrored.

    Args:
        images (Sequence[dict]): Entries ``images`` of a COCO file.
        root (str | Path): Folder that ``file_name`` is relative to.
        pipeline (Sequence[dict]): Test pipeline of a config. Steps that load
            annotations are left out.
        scales (Sequence[float]): Sizes relative to the pipeline's size; each
            gives one view. Defaults to 1.
        flip (bool): Whether each size has a mirrored view, too. Defaults to
            False.

    Attributes:
        mirrored (list[bool]): Whether each view is mirrored.

    Raises:
        ValueError: if views differ and no step of the pipeline resizes.

    Example:
        >>> images = [dict(id=1, file_name='a.png')]
        >>> steps = [dict(type='mmdet.Resize', scale=(64, 32))]
        >>> ImageViews(images, '.', steps, (1.0, 0.5), flip=True).mirrored
        [False, True, False, True]
    """

    def __init__(
        self,
        images: Sequence[dict[str, Any]],
        root: str | Path,
        pipeline: Sequence[dict[str, Any]],
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
    ) -> None:
        self.images, self.root = images, Path(root)
        steps = [s for s in pipeline if not s['type'].startswith('LoadAnn')]
        sides = [False, True] if flip else [False]
        self.pipelines = [
            Compose(view_pipeline(steps, scale, mirrored))
            for scale in scales
            for mirrored in sides
        ]
        self.mirrored = sides * len(scales)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[dict[str, Any]]:
        """Load the packed inputs of each view of one image."""
        image = self.images[index]
        return [
            pipeline(
                dict(
                    img_path=str(self.root / image['file_name']),
                    img_id=image['id'],
                    height=image.get('height'),
                    width=image.get('width'),
                )
            )
            for pipeline in self.pipelines
        ]


def view_pipeline(
    steps: Sequence[dict[str, Any]], scale: float, mirrored: bool
) -> list[dict[str, Any]]:
    """Change a test pipeline to another size or to mirrored images.

    Args:
        steps (Sequence[dict]): Test pipeline, which is copied. The result
            compares each image with its annotated size
            (``LoadCheckedImage``).
        scale (float): Size relative to the pipeline's size.
        mirrored (bool): Whether images are mirrored left to right.

    Raises:
        ValueError: if the view differs and no step resizes.

    Example:
        >>> view_pipeline([dict(type='Resize', scale=(64, 32))], 0.5, False)
        [{'type': 'Resize', 'scale': (32, 16)}]
    """
    view = copy.deepcopy(list(steps))
    for step in view:
        if step['type'] == 'LoadImageFromFile':
            step['type'] = 'LoadCheckedImage'
    resizes = [i for i, s in enumerate(view) if s['type'].endswith('Resize')]
    if (scale != 1 or mirrored) and not resizes:
        raise ValueError(
            'Views of other sizes (scales) and mirrored ones (flip) need a '
            'Resize in the test pipeline; it has '
            f'{[step["type"] for step in view]}.'
        )
    if scale != 1:
        step = view[resizes[0]]
        if step.get('scale') is not None:
            step['scale'] = tuple(
                round(scale * side) for side in step['scale']
            )
        else:
            step['scale_factor'] = scale * step['scale_factor']
    if mirrored:
        view.insert(resizes[0] + 1, dict(type='RandomFlip', prob=1.0))
    return view
