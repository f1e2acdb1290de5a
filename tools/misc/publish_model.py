# SPDX-License-Identifier: Apache-2.0
r"""Publish a checkpoint of this project as a plain MMDetection model.

    python tools/misc/publish_model.py configs/s4m_cityscapes_10p.py \
        work_dirs/s4m_cityscapes_10p/iter_90000.pth --out published

writes ``published/NAME-<8 hex digits of its sha256>.pth`` with weights and
meta only, and ``published/NAME.py``, a config of MMDetection's classes. Both
work without this plugin, also in ``DetInferencer``. A class without a
counterpart in MMDetection (a DINOv2 backbone, the DPT decoder, a
``PromptedDetector``) stays, and the config then imports this plugin.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.apis.publish import publish


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', default='published')
    parser.add_argument(
        '--model', choices=['student', 'teacher'], default='student'
    )
    for path in publish(**vars(parser.parse_args())):
        print(path)


if __name__ == '__main__':
    main()
