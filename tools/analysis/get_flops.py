# SPDX-License-Identifier: Apache-2.0
r"""Count the parameters and multiply-adds of the network of a config.

    python tools/analysis/get_flops.py configs/s4m_cityscapes_10p.py \
        --shape 1024 2048

It counts the student of a semi-supervised config, or both networks of a
``PromptedDetector`` with the largest number of boxes. MMEngine counts a
multiply-add as one. No weights are needed.
"""

from s4m.apis.cli import add_cfg_options, make_parser, one_line_errors
from s4m.apis.complexity import get_complexity
from s4m.apis.config import get_config


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config')
    parser.add_argument('--shape', type=int, nargs=2, default=[1024, 2048])
    add_cfg_options(parser)
    args = parser.parse_args()
    height, width = args.shape
    cfg = get_config(args.config, args.cfg_options)
    result = get_complexity(cfg, (height, width))
    print(result['out_table'])
    print(f'input {height} x {width}')
    print(f'multiply-adds {result["flops_str"]}')
    print(f'parameters {result["params_str"]}')


if __name__ == '__main__':
    main()
