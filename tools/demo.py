# SPDX-License-Identifier: Apache-2.0
"""Train four methods on Shapes and write a report (``make demo``).

The demo makes the data, trains the supervised baseline, S4M's teacher, Guided
Distillation and S4M (one seed, two runs at a time), evaluates them with
tools/test.py and writes ``work_dirs/demo/report.html``. Finished steps are
skipped and a stopped run is resumed.
"""

from s4m.apis import cli
from s4m.apis.demo import run_demo


@cli.one_line_errors
def main() -> None:
    """Command line."""
    parser = cli.make_parser(__doc__)
    parser.add_argument(
        '--fast', action='store_true', help='prove the path in 3 minutes'
    )
    parser.add_argument('--iters', type=int, default=800)
    parser.add_argument('--seed', type=int, default=0)
    report, results = run_demo(**vars(parser.parse_args()))
    for name, result in results.items():
        networks = result['metrics']
        metrics = networks.get('student', networks.get('model'))
        print(f'{name:20} AP {100 * metrics["cityscapes/mAP"]:5.1f}')
    print(f'Report: {report.absolute()}')


if __name__ == '__main__':
    main()
