# SPDX-License-Identifier: Apache-2.0
"""Base class of modules that use a promptable segmenter."""

from __future__ import annotations

from itertools import chain

import torch
from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from mmengine.model import BaseModule

from s4m.utils.random_states import keep_random_state

from .promptable_segmenter import PromptableSegmenter


class SegmenterOwner(BaseModule):
    """Base of a module that prompts a segmenter.

    Call :meth:`configure_segmenter` in ``__init__``. As a mixin of an MMDet
    detector, list it before the detector.

    A frozen segmenter is not in the module tree, hence in no state dict,
    optimiser, gradient bucket or moving average. It is built from its config
    by :meth:`init_weights`, which MMEngine calls at the start of a training,
    so that a missing file is reported before an image is read, or else at its
    first use. Testing, resuming and exporting need neither the segmenter nor
    its file. Building it does not change random states.

    A segmenter that trains (``frozen=False``) is an ordinary submodule: it is
    built in ``__init__`` and is part of every checkpoint.

    Attributes:
        segmenter_cfg (dict): Config of the segmenter.

    Example:
        >>> class Refiner(SegmenterOwner):
        ...     def __init__(self, segmenter):
        ...         super().__init__()
        ...         self.configure_segmenter(segmenter)
        ...
        ...     def forward(self, rgb):
        ...         return self.segmenter_on(rgb.device).encode(rgb)
        >>> cfg = dict(type='SAM2Segmenter', config='nano_sam2',
        ...            checkpoint='nano_sam2')
        >>> list(Refiner(cfg).parameters())
        []
    """

    segmenter_cfg: ConfigType

    def configure_segmenter(self, cfg: ConfigType) -> None:
        """Remember the config, and build a segmenter that trains.

        Args:
            cfg (dict): Config of a promptable segmenter.
        """
        self.segmenter_cfg = cfg
        # Not through nn.Module, which would register it.
        self.__dict__['_frozen_segmenter'] = None
        if not cfg.get('frozen', True):
            self.set_segmenter(MODELS.build(cfg))

    @property
    def segmenter(self) -> PromptableSegmenter:
        """The segmenter, which is built at its first use.

        Raises:
            RuntimeError: if building it raised an AttributeError.
        """
        try:
            self.build_segmenter()
        except AttributeError as e:
            # For an AttributeError of a property, nn.Module says that the
            # property does not exist.
            raise RuntimeError(
                f'{self.segmenter_cfg.get("type")}, the segmenter of '
                f'{type(self).__name__}, cannot be built: {e}'
            ) from e
        return self._modules.get(
            'segmenter', self.__dict__['_frozen_segmenter']
        )

    def segmenter_on(self, device: torch.device) -> PromptableSegmenter:
        """Return the segmenter, and move a frozen one to a device.

        A frozen segmenter is outside the module tree, so that moving its
        owner does not move it.

        Args:
            device (torch.device): Device of the images to encode.

        Returns:
            PromptableSegmenter: The segmenter.
        """
        segmenter = self.segmenter
        if segmenter.frozen:
            tensors = chain(segmenter.parameters(), segmenter.buffers())
            first = next(tensors, None)
            if first is not None and first.device != device:
                segmenter.to(device)
        return segmenter

    @property
    def has_segmenter(self) -> bool:
        """Whether the segmenter is already built."""
        frozen = self.__dict__['_frozen_segmenter']
        return frozen is not None or 'segmenter' in self._modules

    def build_segmenter(self) -> None:
        """Build the segmenter from its config if it is not yet built."""
        if not self.has_segmenter:
            with keep_random_state():
                self.set_segmenter(MODELS.build(self.segmenter_cfg))

    def set_segmenter(self, segmenter: PromptableSegmenter) -> None:
        """Use an existing segmenter, for instance that of another owner.

        Args:
            segmenter (PromptableSegmenter): The segmenter to use.

        Raises:
            ValueError: if this owner cannot use it.
        """
        self.check_segmenter(segmenter)
        self._modules.pop('segmenter', None)
        self.__dict__['_frozen_segmenter'] = None
        if segmenter.frozen:
            self.__dict__['_frozen_segmenter'] = segmenter
        else:
            # add_module would read the property and so build a segmenter.
            self._modules['segmenter'] = segmenter

    def check_segmenter(self, segmenter: PromptableSegmenter) -> None:
        """Refuse a segmenter that lacks a method which the owner calls.

        This method accepts all segmenters; a subclass may raise a ValueError.

        Args:
            segmenter (PromptableSegmenter): The segmenter that was built.
        """

    def init_weights(self) -> None:
        """Initialise the module and build the segmenter."""
        super().init_weights()
        self.build_segmenter()
