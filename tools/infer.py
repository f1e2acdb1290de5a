# SPDX-License-Identifier: Apache-2.0
r"""Predict a folder of images, as pictures and a COCO file.

    python tools/infer.py demo_images configs/s4m/s4m_shapes_5p.py \
        work_dirs/s4m_shapes_5p/iter_800.pth --out results

writes ``results/vis/*.jpg|png`` and ``results/predictions.json``: images,
categories, and annotations with RLE masks and ``score``. Pictures are in the
subfolders of their images. Files that are not images are left out and named at
the end, with the status 1.
"""

from __future__ import annotations

from s4m.apis.cli import make_parser, one_line_errors
from s4m.apis.inference import infer


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('images', help='folder, image or quoted pattern')
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', required=True)
    parser.add_argument('--score-thr', type=float, default=0.3)
    parser.add_argument('--device', help='cuda:0, cpu ...')
    infer(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
