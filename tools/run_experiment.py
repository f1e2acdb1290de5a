# SPDX-License-Identifier: Apache-2.0
"""Run one row of the matrix: teacher, student and the AP of both.

    tools/run_experiment.sh s4m cityscapes 10 4
    tools/run_experiment.sh guided_distillation coco 5 4 --backbone swin_l
    tools/run_experiment.sh s4m cityscapes 10 4 --split seed0@10

Finished stages are skipped and stopped ones resumed. Results of another config
or another teacher are refused. Run the tool in the project's folder.
"""

from s4m.apis import cli
from s4m.apis.pipeline import Launcher, format_table, run_stages, stages_of


@cli.one_line_errors
def main() -> None:
    """Command line."""
    parser = cli.make_parser(__doc__)
    parser.add_argument('method', help='s4m, guided_distillation ...')
    parser.add_argument('dataset', help='cityscapes, coco, shapes ...')
    parser.add_argument('percent', type=int)
    parser.add_argument('gpus', type=int)
    parser.add_argument('--backbone', help='of the name, if not R50')
    cli.add_split(parser)
    cli.add_amp(parser)
    cli.add_cfg_options(parser)
    args = parser.parse_args()
    method = 'sskd_refine' if args.method == 'sskd' else args.method
    parts = [method, args.backbone, args.dataset, f'{args.percent}p']
    name = '_'.join(part for part in parts if part)
    stages = stages_of(name, split=args.split, cfg_options=args.cfg_options)
    launcher = Launcher(args.gpus, args.amp, args.auto_scale_lr)
    print('\n' + format_table(run_stages(stages, launcher)))


if __name__ == '__main__':
    main()
