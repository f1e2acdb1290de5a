# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of this project -> a plain MMDetection Mask2Former.

    python tools/misc/publish_model.py configs/s4m_cityscapes_10p.py \
        work_dirs/s4m_cityscapes_10p/iter_90000.pth --out published

writes ``published/NAME-<8 hex digits of its sha256>.pth`` with weights and
meta only, and ``published/NAME.py``, a config of MMDetection's own classes:
both work without this plugin, in ``DetInferencer`` too. What MMDetection has
no counterpart of (a DINOv2 backbone, the DPT decoder, a ``PromptedDetector``)
stays, and the config imports this plugin; it says so.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import CheckpointLoader

sys.path.append(str(Path(__file__).parents[1]))
from s4m.utils.whole_files import write_whole

#: What this plugin's classes are in MMDetection; same parameters, same keys.
STOCK_TYPES = {
    'ContrastiveMask2Former': 'Mask2Former',
    'DistillCondInst': 'CondInst',
    'DistillMask2Former': 'Mask2Former',
    'DistillMaskFormer': 'MaskFormer',
    'DistillMaskRCNN': 'MaskRCNN',
    'DistillQueryInst': 'QueryInst',
    'DistillRTMDet': 'RTMDet',
    'DistillSOLOv2': 'SOLOv2',
    'DistillMask2FormerHead': 'Mask2FormerHead',
    'Fp32MSDeformAttnPixelDecoder': 'MSDeformAttnPixelDecoder',
}
#: Arguments that only training with this plugin's classes reads.
CONTRASTIVE_ARGUMENTS = (
    'loss_contrast',
    'strong_augment',
    'sup_weight',
    'semi_weight',
    'feature_level',
)
DISTILL_ARGUMENTS = (
    'segmenter',
    'loss_distill',
    'feature_source',
    'feature_index',
    'num_points',
)
#: Weights that nothing but the contrastive loss reads.
LOSS_WEIGHTS = 'loss_contrast.'


def select_weights(state: dict, model: str) -> dict:
    """Weights of one network.

    Args:
        state (dict): State dict of a plain or a semi-supervised detector.
        model (str): ``student`` or ``teacher``; a plain detector has one.

    Raises:
        ValueError: if the state dict has no such network.
    """
    prefix = f'{model}.'
    if not any(k.startswith(('student.', 'teacher.')) for k in state):
        return {
            k: v for k, v in state.items() if not k.startswith(LOSS_WEIGHTS)
        }
    chosen = {
        k.removeprefix(prefix): v
        for k, v in state.items()
        if k.startswith(prefix)
    }
    if not chosen:
        raise ValueError(f'the checkpoint has no {model}')
    return chosen


def plain_config(cfg: Config) -> Config:
    """Config of the network alone, with MMDetection's classes.

    Where there are none it has this plugin's, and ``custom_imports``.

    Args:
        cfg (Config): of a plain or semi-supervised detector.
    """
    model = cfg.model
    if model.type == 'SemiInstanceSegmentor':
        model = model.detector
    model = model.to_dict()
    own = CONTRASTIVE_ARGUMENTS
    if model['type'].startswith('Distill'):
        own = DISTILL_ARGUMENTS
    for name in own:
        model.pop(name, None)
    kept = _rename(model)
    preprocessor = dict(cfg.model.data_preprocessor)
    preprocessor['type'] = 'DetDataPreprocessor'
    preprocessor.setdefault('bgr_to_rgb', True)
    model['data_preprocessor'] = preprocessor
    model.get('detector', model)['backbone']['init_cfg'] = None
    dataset = cfg.test_dataloader.to_dict()
    imports = {}
    if kept:
        imports['custom_imports'] = dict(
            imports=['s4m'], allow_failed_imports=False
        )
    return Config(
        dict(
            default_scope='mmdet',
            **imports,
            model=model,
            test_dataloader=dataset,
            test_cfg=dict(type='TestLoop'),
            test_evaluator=cfg.test_evaluator,
            visualizer=cfg.visualizer,
        )
    )


def _rename(node) -> set[str]:
    """MMDetection's classes in place of this plugin's, where there are some.

    Returns:
        set[str]: the plugin's classes that stay.
    """
    from s4m import models

    kept: set[str] = set()
    if isinstance(node, dict):
        name = node.get('type')
        if name in STOCK_TYPES:
            node['type'] = STOCK_TYPES[name]
        elif isinstance(name, str) and hasattr(models, name):
            kept.add(name)
        if (
            name == 'DistillMask2FormerHead'
            and 'encoder' not in (node['pixel_decoder'])
        ):
            # MMDetection's head wants a deformable encoder.
            node['type'] = name
            kept.add(name)
    values = node.values() if isinstance(node, dict) else node
    if isinstance(node, dict | list | tuple):
        for value in values:
            kept |= _rename(value)
    return kept


def publish(
    config: str, checkpoint: str, out: Path, model: str = 'student'
) -> tuple[Path, Path]:
    """Write the plain checkpoint and config.

    Returns:
        tuple[Path, Path]: checkpoint and config.

    Raises:
        ValueError: if the weights do not fit the config.
    """
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    cfg = Config.fromfile(config)
    source = CheckpointLoader.load_checkpoint(checkpoint, 'cpu')
    weights = select_weights(source['state_dict'], model)
    plain = plain_config(cfg)
    if 'custom_imports' in plain:
        print('This model works where this plugin (s4m) is installed.')
    init_default_scope('mmdet')
    network = MODELS.build(ConfigDict(plain.model))
    try:
        network.load_state_dict(weights)
    except RuntimeError as e:
        raise ValueError(f'{checkpoint} does not fit {config}: {e}') from e

    name = Path(config).stem + ('' if model == 'student' else f'_{model}')
    meta = {
        k: v
        for k, v in source.get('meta', {}).items()
        if k in ('dataset_meta', 'iter', 'mmengine_version', 'seed')
    }
    # Its name holds its digest, so it is made in memory first.
    buffer = io.BytesIO()
    torch.save({'meta': meta, 'state_dict': weights}, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    target = out / f'{name}-{digest[:8]}.pth'
    with write_whole(target) as partial:
        partial.write_bytes(buffer.getbuffer())
    plain.dump(str(out / f'{name}.py'))
    return target, out / f'{name}.py'


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', type=Path, default=Path('published'))
    parser.add_argument(
        '--model', choices=['student', 'teacher'], default='student'
    )
    args = parser.parse_args()
    for path in publish(args.config, args.checkpoint, args.out, args.model):
        print(path)


if __name__ == '__main__':
    main()
