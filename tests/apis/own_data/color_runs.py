# SPDX-License-Identifier: Apache-2.0
"""A run whose network sees colours, for tests of what uses a network."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import nn

CLASSES = ['red', 'green', 'blue']
#: Height and width of the images.
SIZE = 32, 64


@MODELS.register_module()
class ColorDetector(BaseDetector):
    """Predicts one object per pure colour; its score is the brightness.

    A blue object is only found in the left half, so that the mirror image
    has another prediction.
    """

    def __init__(self, data_preprocessor=None) -> None:
        super().__init__(data_preprocessor)
        self.one = nn.Parameter(torch.ones(1))
        self.backbone = nn.AdaptiveAvgPool2d((4, 8))

    def predict(self, inputs, samples, rescale=True):
        self.backbone(inputs)
        for rgb, sample in zip(inputs, samples, strict=True):
            height, width = sample.img_shape[:2]
            masks = (rgb > 50)[:, :height, :width]
            masks[2, :, width // 2 :] = False
            found = [k for k in range(3) if masks[k].any()]
            scores = [float(rgb[k].max()) / 255 for k in found]
            sample.pred_instances = InstanceData(
                masks=masks[found],
                labels=torch.tensor(found, dtype=torch.long),
                scores=torch.tensor(scores),
            )
        return samples

    def loss(self, inputs, samples):
        raise NotImplementedError

    def _forward(self, inputs, samples=None):
        raise NotImplementedError

    def extract_feat(self, inputs):
        raise NotImplementedError


CONFIG = """
default_scope = 'mmdet'
model = dict(
    type='ColorDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', bgr_to_rgb=True),
    {refiner})
classes = ('red', 'green', 'blue')
labeled_images = {images!r}
test_dataloader = dict(
    batch_size=1, num_workers=0,
    dataset=dict(
        type='CocoDataset', metainfo=dict(classes=classes),
        ann_file='', data_prefix=dict(img={images!r}),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale_factor=1.0, keep_ratio=True),
            dict(type='LoadAnnotations', with_mask=True),
            dict(type='PackDetInputs', meta_keys=(
                'img_id', 'img_path', 'ori_shape', 'img_shape',
                'scale_factor')),
        ]))
test_evaluator = dict(type='CocoInstanceMetric', max_dets=200)
"""
SAM = """dict(
    type='PseudoLabelRefiner',
    segmenter=dict(type='SAM2Segmenter', config='nano_sam2',
                   checkpoint='nano_sam2'))"""


def make_run(folder: Path, labeled=(), sam: bool = False) -> Path:
    """Write a supervised run with three labelled classes.

    Args:
        folder (Path): Parent of the run and of its images.
        labeled (Sequence[str]): Names of labelled images in ``images``.
        sam (bool): Whether the run has a refiner.

    Returns:
        Path: the run.
    """
    run = folder / 'run'
    (run / 'data').mkdir(parents=True)
    plain = CONFIG.format(refiner='', images=f'{folder}/images/')
    (run / 'model.py').write_text(plain)
    # The network reads no refiner: only what asks the run for one does.
    text = plain + (f'model["refiner"] = {SAM}\n' if sam else '')
    (run / 'config.py').write_text(text)
    model = ColorDetector()
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(
        dict(state_dict=model.state_dict(), meta=meta), run / 'model.pth'
    )
    info = dict(request={}, classes=CLASSES, best='supervised')
    (run / 'run.json').write_text(json.dumps(info))
    images = [
        dict(id=k, file_name=name, height=SIZE[0], width=SIZE[1])
        for k, name in enumerate(labeled, 1)
    ]
    # Eight red objects, one green one, and no blue one.
    annotations = [
        dict(id=k, image_id=1, category_id=1 + (k == 9), area=1)
        for k in range(1, 10)
    ]
    categories = [dict(id=k, name=n) for k, n in enumerate(CLASSES, 1)]
    data = dict(images=images, annotations=annotations, categories=categories)
    (run / 'data/labeled.json').write_text(json.dumps(data))
    return run


def draw(file: Path, *objects: tuple) -> Path:
    """Write an image with rectangles (class, brightness, x, y, w, h)."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for name, brightness, x, y, w, h in objects:
        channel = 2 - CLASSES.index(name)
        pixels[y : y + h, x : x + w, channel] = brightness
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), pixels)
    return file
