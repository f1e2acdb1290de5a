# SPDX-License-Identifier: Apache-2.0
"""Build sam2's model from a yaml, and load its checkpoints."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from s4m.utils.checkpoint_files import ASSETS
from s4m.utils.checkpoints import (
    check_tensors,
    load_strictly,
    read_checkpoint,
)
from s4m.utils.digests import file_digest

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

#: Names of sam2's configs by the names of its checkpoints.
STOCK_CONFIGS = {
    f'{version}_hiera_{short}': (
        f'configs/{version}/{version}_hiera_{file}.yaml'
    )
    for version in ('sam2', 'sam2.1')
    for short, file in (
        ('tiny', 't'),
        ('small', 's'),
        ('base_plus', 'b+'),
        ('large', 'l'),
    )
}

#: A tiny SAM 2 for demo and tests, which this project trained.
SHIPPED = {'nano_sam2': (ASSETS / 'nano_sam2.yaml', ASSETS / 'nano_sam2.pt')}

# Parameters that only videos use. Segmenting an image never reads them, so a
# checkpoint for images may lack them.
VIDEO_ONLY = (
    'memory_attention.',
    'memory_encoder.',
    'maskmem_tpos_enc',
    'no_mem_pos_enc',
    'no_obj_ptr',
    'no_obj_embed_spatial',
    'mask_downsample.',
    'obj_ptr_proj.',
    'obj_ptr_tpos_proj.',
)


@contextmanager
def _no_global_hydra() -> Iterator[None]:
    """Undo sam2's initialisation of Hydra's global state on import.

    Otherwise an application that uses Hydra would fail with "GlobalHydra is
    already initialized".
    """
    from hydra.core.global_hydra import GlobalHydra

    was_initialized = GlobalHydra.instance().is_initialized()
    try:
        yield
    finally:
        if not was_initialized:
            GlobalHydra.instance().clear()


def build_sam2_model(config: str, image_size: int | None = None) -> SAM2Base:
    """Instantiate sam2's model from a yaml, without Hydra's global state.

    Args:
        config (str): ``sam2[.1]_hiera_{tiny,small,base_plus,large}``,
            ``nano_sam2``, or the path of a yaml in sam2's layout.
        image_size (int, optional): Side of the input in pixels. Defaults to
            the value in the yaml.

    Returns:
        SAM2Base: sam2's model with random weights, in eval mode.

    Raises:
        ImportError: if sam2 is not installed.
        FileNotFoundError: if ``config`` is neither a known name nor a file.
        ValueError: if the yaml has no entry ``model``.
    """
    try:
        with _no_global_hydra():
            sam2 = importlib.import_module('sam2')
    except ImportError as e:
        raise ImportError(
            'SAM2Segmenter needs the package sam2: '
            'SAM2_BUILD_CUDA=0 pip install sam2 --no-build-isolation'
        ) from e
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    if config in STOCK_CONFIGS:
        path = Path(sam2.__path__[0]) / STOCK_CONFIGS[config]
    elif config in SHIPPED:
        path = SHIPPED[config][0]
    else:
        path = Path(config)
    if not path.is_file():
        names = ', '.join([*STOCK_CONFIGS, *SHIPPED])
        raise FileNotFoundError(
            f'SAM2 config {config!r} is neither a file nor one of {names}.'
        )
    cfg = OmegaConf.load(path)
    if 'model' not in cfg:
        raise ValueError(
            f"SAM2 config {path} has no 'model' entry; see sam2's own yaml "
            'files for the layout.'
        )
    if image_size is not None:
        cfg.model.image_size = image_size
    OmegaConf.resolve(cfg)
    return instantiate(cfg.model, _recursive_=True).eval()


def load_sam2_checkpoint(
    model: SAM2Base, checkpoint: str, sha256: str | None = None
) -> None:
    """Load a sam2 checkpoint ``{'model': state_dict}`` strictly.

    Args:
        model (SAM2Base): Model that receives the weights.
        checkpoint (str): Path of a file, or ``nano_sam2``.
        sha256 (str, optional): Expected digest, or its first characters.
            Defaults to no check.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the digest differs, the file is damaged, or its keys
            or shapes differ from those of ``model``.
    """
    if checkpoint in SHIPPED:
        path = SHIPPED[checkpoint][1]
    else:
        path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'SAM2 checkpoint {path} does not exist. The official ones are '
            'listed at https://github.com/facebookresearch/sam2#download-'
            'checkpoints; put the file there, or set the '
            "segmenter's `checkpoint` to where it is."
        )
    if sha256 is not None:
        digest = file_digest(path)
        if not digest.startswith(sha256.lower()):
            raise ValueError(
                f'SAM2 checkpoint {path} has sha256 {digest}, expected '
                f'{sha256}: the download is incomplete or another file.'
            )
    state = read_checkpoint(path).get('model')
    if not isinstance(state, dict):
        raise ValueError(
            f"SAM2 checkpoint {path} has no 'model' entry: it is not a "
            'checkpoint of sam2.'
        )
    check_tensors(state, path)
    load_strictly(
        model,
        state,
        f'SAM2 checkpoint {path}',
        hint="Is the segmenter's `config` the one of this checkpoint?",
        optional=VIDEO_ONLY,
    )
