# SPDX-License-Identifier: Apache-2.0
"""Train a model with MMDetection's command line.

python tools/train.py configs/s4m/s4m_shapes_5p.py
tools/dist_train.sh configs/s4m_cityscapes_10p.py 4
"""

from s4m.apis import cli
from s4m.apis.training import train


@cli.one_line_errors
def main() -> None:
    """Command line."""
    parser = cli.make_parser(__doc__)
    add = parser.add_argument
    add('config', help='file or name of a config')
    add('--work-dir', help='where logs and checkpoints go')
    cli.add_split(parser)
    cli.add_amp(parser)
    add(
        '--resume',
        nargs='?',
        const='auto',
        help='a checkpoint, or nothing for the latest in the work directory',
    )
    cli.add_cfg_options(parser)
    cli.add_launcher(parser)
    train(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
