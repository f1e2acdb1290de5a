# SPDX-License-Identifier: Apache-2.0
"""Checks annotation files before a training starts."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from s4m.datasets.coco_checks import check_annotations, check_same_classes
from s4m.datasets.semi_dataset import SemiDataset


@HOOKS.register_module()
class AnnotationCheckHook(Hook):
    """Refuses files whose labels would be misread, and sets that differ.

    See :func:`~s4m.datasets.coco_checks.check_annotations`. The training
    set and the validation set are read, on the first process only;
    ``SemiDataset`` has checked its own files already.

    Raises:
        ValueError: that names the file and what is wrong with it.
    """

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Check what is trained and validated on."""
        train = runner.train_dataloader.dataset
        if not isinstance(train, SemiDataset):
            check_annotations(train, with_masks=True, needs_instance=True)
        if runner.val_loop is None:
            return
        val = runner.val_dataloader.dataset
        check_annotations(val, with_masks=False)
        check_same_classes(training=train, validation=val)
