# SPDX-License-Identifier: Apache-2.0
"""Convert MMDetection's Mask2Former checkpoints for detectron2.

    python tools/model_converters/mmdet_to_detectron2.py SRC.pth DST.pth

reads a checkpoint of a Mask2Former, of a ``DistillMask2Former`` or of a
``SemiInstanceSegmentor``, as it was trained here, and writes ``{'model':
...}``: a plain Mask2Former, or ``modelStudent.*`` and ``modelTeacher.*`` as in
S4M and Guided Distillation. It inverts detectron2_to_mmdet.py exactly.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.apis.convert import mmdet_to_detectron2


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('source')
    parser.add_argument('target')
    mmdet_to_detectron2(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
