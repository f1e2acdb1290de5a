# SPDX-License-Identifier: Apache-2.0
"""Convert Mask2Former checkpoints of detectron2 for MMDetection.

    python tools/model_converters/detectron2_to_mmdet.py SRC.pth DST.pth

reads S4M's and Guided Distillation's checkpoints (``--model student`` or
``teacher``) and plain Mask2Former ones (``.pth``, or the zoo's ``.pkl``) with
ResNet or Swin backbones, any number of classes, queries and layers. The tool
writes an MMDetection Mask2Former checkpoint and its config; ``--model both``
writes a checkpoint of a ``SemiInstanceSegmentor``. Nothing is written unless
every tensor is used and every tensor of the model is set.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.apis.convert import detectron2_to_mmdet


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('source')
    parser.add_argument('target')
    parser.add_argument(
        '--model', choices=['student', 'teacher', 'both'], default='student'
    )
    parser.add_argument(
        '--config', help='the config it is meant for: its classes are checked'
    )
    detectron2_to_mmdet(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
