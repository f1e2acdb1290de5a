# SPDX-License-Identifier: Apache-2.0
"""Pictures and a COCO JSON for a folder of images.

    python tools/infer.py demo_images configs/s4m/s4m_shapes_5p.py \
        work_dirs/s4m_shapes_5p/iter_800.pth --out results

writes ``results/vis/*.jpg|png`` and ``results/predictions.json``: images,
categories, and annotations with RLE masks and ``score``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
from mmdet.apis import DetInferencer
from rich.progress import track

sys.path.append(str(Path(__file__).parent / 'dataset_converters'))
from images_to_coco import find_images
from s4m.datasets.coco_io import instance_annotations
from s4m.utils.whole_files import write_json


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('images', type=Path, help='folder or image')
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--score-thr', type=float, default=0.3)
    parser.add_argument('--device', help='cuda:0, cpu ...')
    args = parser.parse_args()
    try:
        files = find_images(args.images)
    except FileNotFoundError as e:
        raise SystemExit(str(e)) from e
    inferencer = DetInferencer(
        args.config, args.checkpoint, args.device, show_progress=False
    )
    classes = inferencer.visualizer.dataset_meta['classes']
    category_ids = list(range(1, len(classes) + 1))
    images, annotations = [], []
    for image_id, file in enumerate(track(files, 'images')):
        if cv2.imread(str(file)) is None:
            raise SystemExit(f'{file} cannot be read as an image')
        result = inferencer(
            str(file),
            out_dir=str(args.out),
            pred_score_thr=args.score_thr,
            return_datasamples=True,
        )
        (sample,) = result['predictions']
        height, width = sample.ori_shape
        images.append(
            dict(id=image_id, file_name=str(file), height=height, width=width)
        )
        pred = sample.pred_instances
        pred = pred[pred.scores >= args.score_thr]
        for annotation in instance_annotations(pred, image_id, category_ids):
            annotations.append(dict(id=len(annotations), **annotation))
    target = args.out / 'predictions.json'
    categories = [dict(id=i + 1, name=n) for i, n in enumerate(classes)]
    write_json(
        target,
        dict(images=images, annotations=annotations, categories=categories),
    )
    print(f'{target}: {len(annotations)} instances in {len(images)} images')


if __name__ == '__main__':
    main()
