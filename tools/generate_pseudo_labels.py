# SPDX-License-Identifier: Apache-2.0
r"""Make pseudo-labels as a COCO file; a stopped run resumes.

    python tools/generate_pseudo_labels.py CONFIG CHECKPOINT|none \
        --images unlabeled.json --image-root folder --out pseudo_labels.json
"""

import argparse

from mmengine.config import DictAction
from s4m.apis import cli
from s4m.apis.pseudo_labels import generate_pseudo_labels


@cli.one_line_errors
def main() -> None:
    """Command line; the library has the defaults."""
    parser = cli.make_parser(__doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add('config')
    add('checkpoint', type=lambda file: None if file == 'none' else file)
    for name, required in (('images', 1), ('out', 1), ('image-root', 0)):
        add(f'--{name}', required=bool(required))
    for name in ('max-per-image', 'min-area', 'batch-size', 'workers'):
        add(f'--{name}', type=int)
    add('--score-thr', type=float)
    add('--class-thr', nargs='+', action=DictAction, metavar='CLASS=THR')
    add('--model', choices=['teacher', 'student'])
    add('--refine', nargs='*', metavar='SAM2', help='its config, weights')
    add('--scales', type=float, nargs='+', help='of views')
    for name in ('flip', 'non-overlapping'):
        add(f'--{name}', action='store_true')
    cli.add_cfg_options(parser)
    cli.add_launcher(parser)
    generate_pseudo_labels(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
