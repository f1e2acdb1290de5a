# SPDX-License-Identifier: Apache-2.0
"""Train the weights that the demo's networks start from, on random scenes.

    python tools/train_nano_mask2former.py --work-dir work_dirs/pretrain
    python tools/train_nano_mask2former.py --network vit_nano \
        --work-dir work_dirs/pretrain_vit

A stopped training resumes from its last save.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.apis.nano_pretraining import NETWORKS, pretrain


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--work-dir', default='work_dirs/pretrain')
    parser.add_argument(
        '--network', choices=list(NETWORKS), default='mask2former_nano'
    )
    parser.add_argument('--steps', type=int, help="default: the network's own")
    parser.add_argument('--images', type=int, default=4, help='per step')
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    pretrain(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
