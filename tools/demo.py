# SPDX-License-Identifier: Apache-2.0
"""Train on small data and write a report (``make demo``).

``--data nuclei`` is the example of docs/own_data.md: ``s4m train`` with 6
labelled and 38 other microscopy images, and the page in
``work_dirs/demo_nuclei/report.html``. ``--data shapes`` makes a data set,
trains the supervised baseline, S4M's teacher, Guided Distillation and S4M (one
seed, two runs at a time), and writes ``work_dirs/demo/report.html``. Finished
steps are skipped and a stopped run is resumed.
"""

from s4m.apis import cli
from s4m.apis.demo import run_demo, run_nuclei


@cli.one_line_errors
def main() -> None:
    """Command line."""
    parser = cli.make_parser(__doc__)
    parser.add_argument(
        '--data', choices=['nuclei', 'shapes'], default='nuclei'
    )
    parser.add_argument(
        '--fast', action='store_true', help='prove the path in 3 minutes'
    )
    parser.add_argument('--iters', type=int, help='of each training')
    parser.add_argument('--seed', type=int, default=0)
    args = vars(parser.parse_args())
    data = args.pop('data')
    options = {k: v for k, v in args.items() if v is not None}
    if data == 'nuclei':
        print(f'Report: {run_nuclei(**options).report.absolute()}')
        return
    report, results = run_demo(**options)
    for name, result in results.items():
        networks = result['metrics']
        metrics = networks.get('student', networks.get('model'))
        print(f'{name:20} AP {100 * metrics["cityscapes/mAP"]:5.1f}')
    print(f'Report: {report.absolute()}')


if __name__ == '__main__':
    main()
