# SPDX-License-Identifier: Apache-2.0
"""The networks that ``s4m train`` knows by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownModel:
    """A network, where its weights are, and at which size it works.

    Attributes:
        name (str): Name of ``--model``.
        family (str): ``mask2former`` or ``rtmdet_ins``.
        base (str): Its config in ``configs/_base_/models``, without ``.py``.
        coco (str, optional): MMDetection's config whose checkpoint was
            trained on COCO. None for the networks of this project.
        own (str): Address of this project's weights of the network;
            ``backbone`` if its config starts from those of the backbone.
        size (int): Side in pixels of the images that it is trained on.
        lr (float): Learning rate.
        clip (float): Norm to which gradients are clipped.
        gib_per_mpx (float): GiB that a training takes for 2**20 pixels of an
            iteration, in bf16; 0 where no GPU is needed.
        fixed_gib (float): GiB that it takes besides.
        about (str): What it is, in a few words.
    """

    name: str
    family: str
    base: str
    coco: str | None
    own: str
    size: int
    lr: float
    clip: float
    gib_per_mpx: float
    fixed_gib: float
    about: str

    @property
    def is_nano(self) -> bool:
        """Whether it is a network of this project, for a CPU."""
        return self.coco is None


def _mask2former(
    name: str,
    coco: str,
    per_mpx: float,
    fixed: float,
    about: str,
    base: str = '',
) -> KnownModel:
    return KnownModel(
        name=f'mask2former_{name}',
        family='mask2former',
        base=f'mask2former_{base or name}',
        coco=f'mask2former/mask2former_{coco}',
        own='',
        size=1024,
        lr=1e-4,
        clip=0.01,
        gib_per_mpx=per_mpx,
        fixed_gib=fixed,
        about=about,
    )


def _rtmdet(name: str, per_mpx: float, fixed: float, about: str) -> KnownModel:
    return KnownModel(
        name=f'rtmdet_ins_{name}',
        family='rtmdet_ins',
        base=f'rtmdet_ins_{name}',
        coco=f'rtmdet/rtmdet-ins_{name}_8xb32-300e_coco',
        own='',
        size=640,
        lr=1e-3,
        clip=35.0,
        gib_per_mpx=per_mpx,
        fixed_gib=fixed,
        about=about,
    )


#: Memory of Mask2Former-R50 and Swin-L is that of the simulated device and 0.5
#: GiB (docs/results/gpu.md); that of the others is a guess between them.
MODELS: dict[str, KnownModel] = {
    model.name: model
    for model in (
        _mask2former(
            'r50',
            'r50_8xb2-lsj-50e_coco',
            1.15,
            1.7,
            '44 M parameters; the default on a GPU',
            base='r50_finetune',
        ),
        _mask2former(
            'swin_s',
            'swin-s-p4-w7-224_8xb2-lsj-50e_coco',
            2.2,
            2.1,
            '69 M parameters',
        ),
        _mask2former(
            'swin_b',
            'swin-b-p4-w12-384-in21k_8xb2-lsj-50e_coco-panoptic',
            3.0,
            2.6,
            '107 M parameters',
        ),
        _mask2former(
            'swin_l',
            'swin-l-p4-w12-384-in21k_16xb1-lsj-100e_coco-panoptic',
            4.3,
            4.6,
            '216 M parameters; the most accurate and the slowest',
        ),
        _rtmdet('s', 1.2, 1.5, '10 M parameters; fast'),
        _rtmdet('m', 1.8, 1.8, '28 M parameters; fast'),
        _rtmdet('l', 2.4, 2.2, '57 M parameters; fast'),
        KnownModel(
            'mask2former_nano',
            'mask2former',
            'mask2former_nano',
            None,
            's4m://mask2former_nano',
            256,
            1e-3,
            0.01,
            0.0,
            0.0,
            '1.9 M parameters, for a CPU; starts from random scenes',
        ),
        KnownModel(
            'rtmdet_ins_nano',
            'rtmdet_ins',
            'rtmdet_ins_nano_pretrained',
            None,
            'backbone',
            256,
            2e-3,
            35.0,
            0.0,
            0.0,
            '2 M parameters, for a CPU; the default without a GPU',
        ),
    )
}
#: The network without a GPU; docs/results/nuclei.md compares the two.
NANO = 'rtmdet_ins_nano'
DEFAULT = 'mask2former_r50'


def find_model(name: str | None, has_gpu: bool) -> KnownModel:
    """Return a network by name, or the default of a machine.

    Args:
        name (str, optional): Name in :data:`MODELS`, or ``nano``. None takes
            ``mask2former_r50`` on a machine with a GPU, else ``nano``.
        has_gpu (bool): Whether there is a GPU.

    Raises:
        ValueError: if there is no such network.

    Example:
        >>> find_model(None, has_gpu=False).is_nano
        True
    """
    if name is None:
        name = DEFAULT if has_gpu else 'nano'
    name = NANO if name == 'nano' else name
    if name not in MODELS:
        raise ValueError(
            f'There is no model {name}; --model takes nano, '
            f'{", ".join(MODELS)}.'
        )
    return MODELS[name]
