# SPDX-License-Identifier: Apache-2.0
"""Count the parameters and multiply-adds of the network of a config."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

#: Patterns of the files that hold the weights of a text encoder.
_WEIGHTS = ('*.safetensors', '*.bin')


def get_complexity(cfg: Config, shape: tuple[int, int]) -> dict[str, Any]:
    """Count parameters and multiply-adds for one image.

    For a semi-supervised config the student is counted, for a
    ``PromptedDetector`` both networks, the segmenter with the largest number
    of boxes that the detector may return. MMEngine counts a multiply-add as
    one and does not see fused attention, which is switched off meanwhile. No
    weights are read: a BERT whose folder is missing gets random weights.

    Args:
        cfg (Config): Config of a detector, or of a semi-supervised one.
        shape (tuple[int, int]): (height, width) of the image, padded as the
            model pads.

    Returns:
        dict: MMEngine's ``flops``, ``params``, ``flops_str``, ``params_str``
        and ``out_table``.

    Example::

        from s4m.apis.config import get_config
        get_complexity(get_config('s4m_cityscapes_10p'), (1024, 2048))
    """
    init_default_scope('mmdet')
    model_cfg = copy.deepcopy(cfg.model)
    if model_cfg.type == 'SemiInstanceSegmentor':
        model_cfg = model_cfg.detector
    prompted = model_cfg.type == 'PromptedDetector'
    if prompted:
        model_cfg.segmenter.checkpoint = None
    detector_cfg = model_cfg.detector if prompted else model_cfg
    detector_cfg.backbone.init_cfg = None
    classes = model_cfg.get('classes') or ()
    with _visible_attention(), _text_encoder(detector_cfg, classes):
        model = revert_sync_batchnorm(MODELS.build(model_cfg)).eval()
    image = torch.zeros(3, *shape, dtype=torch.uint8)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)
        )
    )
    data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
    if prompted:
        network: nn.Module = _PromptedNetwork(model, data['data_samples'])
    else:
        network = _without_predictions(model)
    with torch.no_grad():
        return get_model_complexity_info(
            network, inputs=(data['inputs'],), show_arch=False
        )


def _without_predictions(model: BaseDetector) -> BaseDetector:
    """Make the model's forward skip the post-processing."""
    forward = type(model).forward
    model.forward = lambda x: forward(model, x, mode='tensor')
    return model


class _PromptedNetwork(nn.Module):
    """Wraps both networks of a ``PromptedDetector`` as one module.

    A frozen segmenter is not in the module tree of its owner. Scores without
    training say nothing about the number of boxes, so it is set to the
    largest number that the detector may return.
    """

    def __init__(self, model: BaseDetector, samples: SampleList) -> None:
        super().__init__()
        self.detector, self.segmenter = model.detector, model.segmenter
        model.detector_scale = None  # the detector sees the image as it is
        model.score_thr = -1.0
        self._predict: Callable[..., SampleList] = model.predict
        self._samples = samples
        boxes_of_detector = model.detector.predict
        num = model.max_per_image

        def predict(
            inputs: Tensor, views: SampleList, **kwargs: Any
        ) -> SampleList:
            boxes_of_detector(inputs, views, **kwargs)
            height, width = inputs.shape[-2:]
            for view in views:
                box = inputs.new_tensor([[0, 0, width, height]])
                # A layer that no output depends on would not be traced.
                nothing = 0 * view.pred_instances.scores.sum()
                view.pred_instances = InstanceData(
                    bboxes=box.repeat(num, 1),
                    scores=inputs.new_ones(num) + nothing,
                    labels=inputs.new_zeros(num, dtype=torch.long),
                )
            return views

        model.detector.predict = predict

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the scores (n, ) and masks (n, H, W) of one image."""
        (sample,) = self._predict(inputs, self._samples)
        return sample.pred_instances.scores, sample.pred_instances.masks


@contextmanager
def _visible_attention() -> Iterator[None]:
    """Let timm build unfused attention, whose products are counted."""
    if find_spec('timm') is None:
        yield
        return
    from timm.layers import set_fused_attn, use_fused_attn

    was_fused = bool(use_fused_attn())
    set_fused_attn(False)
    try:
        yield
    finally:
        set_fused_attn(was_fused)


@contextmanager
def _text_encoder(
    detector: ConfigDict, classes: Sequence[str]
) -> Iterator[None]:
    """Put a BERT with random weights where a detector's is missing.

    The folder of the text encoder may hold ``config.json`` and the tokenizer
    without weights. Where it is missing altogether, the encoder has the size
    of bert-base-uncased, and each word of a class counts as one token.
    """
    encoder = detector.get('language_model') or {}
    folder = Path(str(encoder.get('name', ''))).expanduser()
    described = (folder / 'config.json').is_file()
    has_weights = any(next(folder.glob(p), None) for p in _WEIGHTS)
    known = described or folder.name == 'bert-base-uncased'
    if encoder.get('type') != 'BertModel' or has_weights or not known:
        yield
        return
    from transformers import BertConfig, BertModel, BertTokenizerFast

    print_log(
        f'The text encoder {folder} has no weights: random ones of '
        + ('its config.json' if described else "bert-base-uncased's size")
        + ' are counted.',
        logger='current',
    )
    with TemporaryDirectory() as name:
        if (folder / 'vocab.txt').is_file():
            tokenizer = BertTokenizerFast.from_pretrained(folder)
        else:
            special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '.', '?']
            words = re.findall(r'\w+', ' '.join(classes).lower())
            vocabulary = Path(name, 'vocab.txt')
            vocabulary.write_text('\n'.join([*special, *dict.fromkeys(words)]))
            tokenizer = BertTokenizerFast(str(vocabulary))
        tokenizer.save_pretrained(name)
        config = BertConfig()
        if described:
            config = BertConfig.from_pretrained(folder)
        BertModel(config).save_pretrained(name)
        encoder['name'] = name
        yield
