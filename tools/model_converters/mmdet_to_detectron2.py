# SPDX-License-Identifier: Apache-2.0
"""MMDetection's Mask2Former checkpoints for detectron2.

    python tools/model_converters/mmdet_to_detectron2.py SRC.pth DST.pth

reads a checkpoint of a Mask2Former, of a ``DistillMask2Former`` or of a
``SemiInstanceSegmentor`` and writes ``{'model': ...}``: a plain Mask2Former,
or ``modelStudent.*`` and ``modelTeacher.*`` as S4M and Guided Distillation
have them. What detectron2_to_mmdet.py made comes back exactly.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1]))
from checkpoints import read, tensors
from detectron2_keys import to_detectron2
from s4m.utils.whole_files import write_whole

_PREFIXES = dict(student='modelStudent.', teacher='modelTeacher.')


def convert(source: str | Path) -> dict[str, dict[str, Tensor]]:
    """A checkpoint for detectron2.

    Args:
        source: The file.

    Raises:
        FileNotFoundError, ValueError: if it cannot be read, or is no
            Mask2Former.
    """
    data, _ = read(source)
    state = data.get('state_dict')
    if not isinstance(state, dict):
        raise ValueError(f'{source} has no state_dict: not of MMDetection')
    meta = data.get('meta', {}).get('detectron2', {})
    state = tensors(state, source)
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, _, rest = key.partition('.')
        if name in _PREFIXES:
            parts.setdefault(name, {})[rest] = value
        else:
            parts.setdefault('model', {})[key] = value
    out = {}
    for name, part in parts.items():
        # A student or teacher that was taken out is a plain model here.
        known = set(meta.get('filled', {}))
        origin = name if name in known or len(known) != 1 else min(known)
        for key in meta.get('filled', {}).get(origin, ()):
            part.pop(key, None)
        try:
            converted = to_detectron2(part)
        except ValueError as e:
            raise ValueError(f'{source}: {e}') from e
        dropped = meta.get('dropped', {}).get(origin)
        if dropped is None:
            classes = part['panoptic_head.cls_embed.weight'].shape[0]
            weight = torch.ones(classes)
            weight[-1] = 0.1
            dropped = {'criterion.empty_weight': weight}
        prefix = _PREFIXES.get(origin, '')
        out.update({prefix + k: v for k, v in (converted | dropped).items()})
    return dict(model=out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', type=Path)
    parser.add_argument('target', type=Path)
    args = parser.parse_args()
    try:
        checkpoint = convert(args.source)
    except (FileNotFoundError, ValueError) as e:
        raise SystemExit(str(e)) from e
    with write_whole(args.target) as partial:
        torch.save(checkpoint, partial)
    print(f'{args.target}: {len(checkpoint["model"])} tensors')


if __name__ == '__main__':
    main()
