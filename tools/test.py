# SPDX-License-Identifier: Apache-2.0
r"""Measure the mask AP of a checkpoint.

    python tools/test.py configs/s4m/s4m_shapes_5p.py \
        work_dirs/s4m_shapes_5p/iter_800.pth --model both
"""

from mmengine.dist import is_main_process
from s4m.apis import cli
from s4m.apis.testing import format_metrics, test


@cli.one_line_errors
def main() -> None:
    """Command line."""
    parser = cli.make_parser(__doc__)
    add = parser.add_argument
    add('config', help='file or name of a config')
    add(
        'checkpoint',
        type=lambda file: None if file == 'none' else file,
        help='a file, or none: the weights that init_cfg names',
    )
    add('--model', choices=['teacher', 'student', 'both'])
    add('--work-dir', help='where the log goes')
    cli.add_split(parser)
    add('--out', help='write the predictions to this .pkl')
    add('--show-dir', help='write painted images here')
    add('--json', help='write the metrics here')
    cli.add_cfg_options(parser)
    cli.add_launcher(parser)
    results = test(**vars(parser.parse_args()))
    if is_main_process():
        print('\n' + format_metrics(results))


if __name__ == '__main__':
    main()
