# SPDX-License-Identifier: Apache-2.0
"""Parameters and multiply-adds of the network that a config deploys.

    python tools/analysis/get_flops.py configs/s4m_cityscapes_10p.py \
        --shape 1024 2048

Of a semi-supervised config it is the student, of a ``PromptedDetector`` both
networks, the second with as many boxes as the first gives at most. MMEngine
counts a multiply-add as one, and does not see fused attention: it is switched
off.
"""

from __future__ import annotations

import argparse
import copy
import os

# Before timm is imported: fused attention hides its products.
os.environ.setdefault('TIMM_FUSED_ATTN', '0')

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config, DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from s4m.models.data_preprocessors import to_rgb


@torch.no_grad()
def complexity(cfg: Config, shape: tuple[int, int]) -> dict:
    """Parameters and multiply-adds of one image.

    Args:
        cfg (Config): of a detector, or of a semi-supervised one.
        shape (tuple[int, int]): (height, width), padded as the model pads.

    Returns:
        dict: MMEngine's ``flops``, ``params``, their texts and table.
    """
    init_default_scope('mmdet')
    model_cfg = copy.deepcopy(cfg.model)
    if model_cfg.type == 'SemiInstanceSegmentor':
        model_cfg = model_cfg.detector
    prompted = model_cfg.type == 'PromptedDetector'
    if prompted:
        model_cfg.segmenter.checkpoint = None
    (model_cfg.detector if prompted else model_cfg).backbone.init_cfg = None
    model = revert_sync_batchnorm(MODELS.build(model_cfg)).eval()
    image = torch.zeros(3, *shape, dtype=torch.uint8)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=shape,
            ori_shape=shape,
            scale_factor=(1.0, 1.0),
        )
    )
    data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
    if prompted:
        # A frozen one is no part of the module, so it would not be counted.
        model.build_segmenter()
        model.segmenter.frozen = False
        model.set_segmenter(model.segmenter)
        height, width = shape
        box = data['inputs'].new_tensor([[0, 0, width, height]])
        boxes = InstanceData(bboxes=box.repeat(model.max_per_image, 1))

        def forward(x):
            # Untrained scores say nothing about the number of boxes.
            (found,) = model._boxes(x, data['data_samples'])
            pixels = to_rgb(model.data_preprocessor, x)
            masks = model._masks(model._encode(pixels), [boxes])
            return found.scores, masks[0]

        model.forward = forward
    else:
        # What runs at test time, without the post-processing.
        plain = type(model).forward
        model.forward = lambda x: plain(model, x, mode='tensor')
    return get_model_complexity_info(
        model, inputs=(data['inputs'],), show_arch=False
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    parser.add_argument('--shape', type=int, nargs=2, default=[1024, 2048])
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    result = complexity(cfg, tuple(args.shape))
    print(result['out_table'])
    height, width = args.shape
    print(f'input {height} x {width}')
    print(f'multiply-adds {result["flops_str"]}')
    print(f'parameters {result["params_str"]}')


if __name__ == '__main__':
    main()
