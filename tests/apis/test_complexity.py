# SPDX-License-Identifier: Apache-2.0
"""Parameters and multiply-adds."""

from __future__ import annotations

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from s4m.apis.complexity import get_complexity


def test_complexity__of_the_student(shapes_config):
    semi = get_complexity(shapes_config('s4m_shapes_5p'), (64, 128))
    plain = get_complexity(shapes_config('supervised_shapes_5p'), (64, 128))
    assert semi['flops'] == plain['flops']
    model = MODELS.build(shapes_config('supervised_shapes_5p').model)
    assert plain['params'] == sum(p.numel() for p in model.parameters())
    # Convolutions at least; four times the pixels, about four times the work.
    larger = get_complexity(shapes_config('supervised_shapes_5p'), (128, 256))
    assert 3 < larger['flops'] / plain['flops'] < 4.5


def test_complexity__of_a_composite(shapes_config):
    """The detector, and SAM 2 with a box for each that there may be."""
    cfg = shapes_config('sskd_teacher_supervised_shapes_5p')
    counts = {}
    for boxes in (1, 5, 9):
        cfg.model.test_cfg.max_per_image = boxes
        counts[boxes] = get_complexity(cfg, (64, 128))
    alone = dict(model=cfg.model.detector)
    alone = get_complexity(Config(alone), (64, 128))['flops']
    one, five, nine = (c['flops'] for c in counts.values())
    assert alone < one
    # A box costs the same as another.
    assert 0 < five - one == pytest.approx(nine - five, rel=1e-3)
    model = MODELS.build(cfg.model)
    both = (model.detector, MODELS.build(model.segmenter_cfg))
    assert counts[1]['params'] == sum(
        p.numel() for part in both for p in part.parameters()
    )


@pytest.mark.parametrize('kept', ['nothing', 'config.json'])
def test_complexity__text_encoder_without_weights(bert, tmp_path, kept):
    """A folder with config.json gives its size, none bert-base-uncased's."""
    import transformers
    from s4m.apis import complexity

    folder = tmp_path / 'bert-base-uncased'
    config = transformers.BertConfig()
    if kept == 'config.json':
        folder.mkdir()
        config = transformers.BertConfig.from_pretrained(bert)
        config.save_pretrained(folder)
    cfg = Config(dict(language_model=dict(type='BertModel', name=str(folder))))
    # The network of the whole teacher has 568 M parameters: its text alone.
    with complexity._text_encoder(cfg, ('traffic light', 'car')):
        tiny = transformers.BertConfig.from_pretrained(cfg.language_model.name)
        encoder = MODELS.build(
            dict(
                cfg.language_model,
                pad_to_max=False,
                use_sub_sentence_represent=True,
                special_tokens_list=['[CLS]', '[SEP]', '.', '?'],
            )
        )
        out = encoder(['traffic light. car. '])
    assert tiny.hidden_size == config.hidden_size
    # [CLS] traffic light . car . [SEP]
    assert out['embedded'].shape == (1, 7, config.hidden_size)
    given = transformers.BertModel(config, add_pooling_layer=False)
    assert sum(p.numel() for p in encoder.parameters()) == sum(
        p.numel() for p in given.parameters()
    )


def test_complexity__text_encoder_with_weights_is_used(bert):
    from s4m.apis import complexity

    cfg = Config(dict(language_model=dict(type='BertModel', name=bert)))
    with complexity._text_encoder(cfg, ('car',)):
        assert cfg.language_model.name == bert
