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
    """Hook that refuses annotations which the training would misread.

    Before the training, the first process checks the training and validation
    sets by :func:`~s4m.datasets.coco_checks.check_annotations`, and that
    their classes agree. ``SemiDataset`` checks its files when it is built.
    """

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Check the training and the validation set.

        Args:
            runner (Runner): Runner of the training.

        Raises:
            ValueError: if a file has a defect, or the classes of the two
                sets differ.
        """
        train = runner.train_dataloader.dataset
        if not isinstance(train, SemiDataset):
            check_annotations(train, with_masks=True, needs_instance=True)
        if runner.val_loop is None:
            return
        val = runner.val_dataloader.dataset
        check_annotations(val, with_masks=False)
        check_same_classes(training=train, validation=val)
