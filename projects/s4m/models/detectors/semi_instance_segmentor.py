# SPDX-License-Identifier: Apache-2.0
"""Teacher, student and the order of one semi-supervised iteration."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.detectors import SemiBaseDetector
from mmdet.models.utils import rename_loss_dict
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from s4m.structures import (
    PseudoLabelSteps,
    check_pseudo_instances,
    project_pseudo_instances,
)
from s4m.structures.masks import spatial_size

from ..batch_augments import valid_sizes
from ..promptable import SegmenterOwner
from .batch_norm_statistics import check_bn_stats, untouched_statistics
from .loss_dicts import AddedLossesMixin, scale_losses
from .partwise_train_step import partwise_train_step, split_branches
from .semi_settings import train_settings
from .student_heads import check_weights_are_read, kind_of_target_masks

_TEST_CFG = dict(
    predict_on='student', forward_on='student', extract_feat_on='student'
)


@MODELS.register_module()
class SemiInstanceSegmentor(AddedLossesMixin, SemiBaseDetector):
    """Mean-teacher instance segmentation: Guided Distillation and S4M.

    :meth:`pseudo_label` runs the parts in their order. Guided Distillation
    has a labeller and strong augmentation, S4M adds the refiner and
    copy-paste. Teacher and student may be any MMDet instance segmenter: the
    ``QueryPseudoLabeler`` fits the MaskFormer family, the
    ``PredictionPseudoLabeler`` fits all of them.

    Training needs the ``BurnInMeanTeacherHook``, which loads
    ``teacher_checkpoint``, updates the teacher and sets :attr:`unsup_weight`;
    without the hook the first training step raises an error.

    Args:
        detector (dict): Config of the detector that is both teacher and
            student.
        data_preprocessor (dict): Config of a ``SemiDataPreprocessor``.
        pseudo_labeler (dict): Config of the labeller, which turns the
            teacher's output into pseudo-labels.
        refiner (dict, optional): Config of the part that replaces the masks
            of pseudo-labels, such as ``PseudoLabelRefiner``.
        copy_paste (dict, optional): Config of the part that exchanges
            instances between images, such as ``RefinedCopyPaste``.
        strong_augment (dict, optional): Config of the part that changes the
            colours of the student's view, such as ``StrongAugment``.
        teacher_checkpoint (str, optional): File from which the teacher
            starts, or work directory, whose best or else last checkpoint is
            taken. A training that resumes does not read it.
        semi_train_cfg (dict, optional): ``sup_weight`` (1) and
            ``unsup_weight`` (2), the weights of the losses on labelled and on
            pseudo-labelled images; ``bn_stats``, the images that update the
            student's BatchNorm statistics, ``all`` (default) or ``labeled``.
        semi_test_cfg (dict, optional): ``predict_on``, ``forward_on`` and
            ``extract_feat_on`` of ``SemiBaseDetector``, each ``student`` by
            default.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ValueError: if the detector has a segmenter, or ``bn_stats`` is
            unknown or does not work with the detector.

    Attributes:
        target_masks (str): Kind of masks that the student's head takes, see
            :func:`~s4m.structures.project_pseudo_instances`. It is the head's
            class attribute of this name, or else ``bitmap``.
        unsup_weight (float | None): Weight of the losses on pseudo-labelled
            images in this iteration; 0 skips these images. It is None until
            the hook sets it.

    Example:
        >>> detector = dict(type='Mask2Former')  # and other settings
        >>> model = dict(
        ...     type='SemiInstanceSegmentor',
        ...     detector=detector,
        ...     data_preprocessor=dict(
        ...         type='SemiDataPreprocessor',
        ...         mean=[123.675, 116.28, 103.53],
        ...         std=[58.395, 57.12, 57.375]),
        ...     pseudo_labeler=dict(type='QueryPseudoLabeler', cls_thr=0.7),
        ...     strong_augment=dict(type='StrongAugment'),
        ...     teacher_checkpoint='work_dirs/burn_in')
    """

    def __init__(
        self,
        detector: ConfigType,
        data_preprocessor: ConfigType,
        pseudo_labeler: ConfigType,
        refiner: OptConfigType = None,
        copy_paste: OptConfigType = None,
        strong_augment: OptConfigType = None,
        teacher_checkpoint: str | None = None,
        semi_train_cfg: OptConfigType = None,
        semi_test_cfg: OptConfigType = None,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(
            detector=detector,
            semi_train_cfg=train_settings(semi_train_cfg),
            semi_test_cfg={**_TEST_CFG, **(semi_test_cfg or {})},
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        if isinstance(self.student, SegmenterOwner):
            raise ValueError(
                f'model.detector={type(self.student).__name__}: the '
                "student's detector has no segmenter. Use the plain class, "
                'e.g. Mask2Former; structural distillation is stage 1, the '
                'training of the teacher.'
            )
        self.pseudo_labeler = MODELS.build(pseudo_labeler)
        self.refiner = _build('refiner', refiner)
        self.copy_paste = _build('copy_paste', copy_paste)
        self.strong_augment = _build('strong_augment', strong_augment)
        self.teacher_checkpoint = teacher_checkpoint
        self.sup_weight = float(self.semi_train_cfg['sup_weight'])
        self.unsup_weight: float | None = None
        self.bn_stats = self.semi_train_cfg['bn_stats']
        check_bn_stats(self.bn_stats, self.student)
        self.target_masks = kind_of_target_masks(self.student)

    def train_step(
        self, data: dict[str, Any], optim_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Train one iteration, see :func:`partwise_train_step`."""
        return partwise_train_step(self, self, data, optim_wrapper)

    def training_parts(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        """Split a preprocessed batch; without a weight, into one part."""
        labeled, unlabeled = ('sup',), ('unsup_teacher', 'unsup_student')
        if self.unsup_weight == 0:
            return split_branches(data, labeled)
        return split_branches(data, labeled, unlabeled)

    def loss(
        self,
        multi_batch_inputs: dict[str, Tensor],
        multi_batch_data_samples: dict[str, SampleList],
    ) -> dict[str, Tensor]:
        """Compute the losses of one iteration.

        Args:
            multi_batch_inputs (dict): ``sup``, ``unsup_teacher`` and
                ``unsup_student``, each (B, 3, H, W) RGB in 0..255. The two
                unlabelled views show the same pixels in other colours. A
                part of a batch (:meth:`training_parts`) has the first branch
                or the other two, and their losses.
            multi_batch_data_samples (dict): Samples of the same branches.

        Returns:
            dict[str, Tensor]: ``sup_*`` and ``unsup_*`` losses, and the mean
            numbers per image of pseudo-labels (``num_pseudo``) and of pasted
            ones (``num_pasted``).

        Raises:
            ValueError: if no hook has set :attr:`unsup_weight`, or the
                student does not read the weights that pseudo-labels have.
        """
        self._check_hook()
        inputs, samples = multi_batch_inputs, multi_batch_data_samples
        normalize = self.data_preprocessor.normalize
        losses = {}
        if 'sup' in inputs:
            losses = self.loss_by_gt_instances(
                normalize(inputs['sup']), samples['sup']
            )
        if self.unsup_weight == 0 or 'unsup_student' not in inputs:
            return losses

        steps = self.pseudo_label(inputs, samples)
        # Set by `pseudo_label`, since the batch has the student's view.
        assert steps.strong_images is not None
        labels = steps.teacher if steps.refined is None else steps.refined
        count = sum(len(item) for item in labels) / len(labels)
        losses['num_pseudo'] = steps.teacher_images.new_full((), count)
        if steps.pasted is not None:
            pasted = sum(item.pasted.sum() for item in steps.pasted)
            losses['num_pasted'] = pasted / len(steps.pasted)
        targets = project_pseudo_instances(
            steps.instances,
            image_size=spatial_size(steps.strong_images),
            target_masks=self.target_masks,
            mask_size=spatial_size(steps.teacher[0].masks),
        )
        check_weights_are_read(self.student, targets)
        labelled = []
        for sample, target in zip(
            samples['unsup_student'], targets, strict=True
        ):
            labelled.append(sample.new())
            labelled[-1].gt_instances = target
        view = normalize(steps.strong_images)
        # The student's pass needs the memory of the steps before it.
        del steps, labels
        losses.update(self.loss_by_pseudo_instances(view, labelled))
        return losses

    @torch.no_grad()
    def pseudo_label(
        self,
        inputs: dict[str, Tensor],
        data_samples: dict[str, SampleList],
    ) -> PseudoLabelSteps:
        """Label, refine, paste and augment one batch of unlabelled images.

        Args:
            inputs (dict): ``unsup_teacher`` and optionally
                ``unsup_student``, each (B, 3, H, W) RGB in 0..255 from the
                ``SemiDataPreprocessor``. Without the student's view the last
                step is the refiner.
            data_samples (dict): Samples of the same branches.

        Returns:
            PseudoLabelSteps: The results of all steps.
        """
        view = inputs['unsup_teacher']
        labels = self.get_pseudo_instances(view, data_samples['unsup_teacher'])
        steps = PseudoLabelSteps(view, teacher=labels, instances=labels)
        _check(steps, view)
        if self.refiner is not None:
            steps.refined = self.refiner(view, steps.instances)
            steps.instances = steps.refined
            _check(steps, view)
        if 'unsup_student' not in inputs:
            return steps

        steps.images = steps.pasted_images = inputs['unsup_student']
        if self.copy_paste is not None:
            steps.pasted_images, steps.pasted = self.copy_paste(
                steps.images, steps.instances
            )
            steps.instances = steps.pasted
            _check(steps, steps.images)
        steps.strong_images = steps.pasted_images
        if self.strong_augment is not None:
            sizes = valid_sizes(
                data_samples['unsup_student'],
                steps.instances,
                spatial_size(steps.images),
            )
            steps.strong_images = self.strong_augment(
                steps.pasted_images, sizes
            )
        return steps

    def loss_by_gt_instances(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute the student's losses on labelled images.

        Args:
            batch_inputs (Tensor): (B, 3, H, W) normalised images.
            batch_data_samples (list[DetDataSample]): Samples with
                ``gt_instances``.

        Returns:
            dict[str, Tensor]: Losses named ``sup_*``.
        """
        losses = self.student.loss(batch_inputs, batch_data_samples)
        return rename_loss_dict('sup_', scale_losses(losses, self.sup_weight))

    def loss_by_pseudo_instances(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute the student's losses on pseudo-labelled images.

        An image without pseudo-labels contributes to the "no object" loss.

        Args:
            batch_inputs (Tensor): (B, 3, H, W) normalised images.
            batch_data_samples (list[DetDataSample]): Samples whose
                ``gt_instances`` are made of pseudo-labels.

        Returns:
            dict[str, Tensor]: Losses named ``unsup_*``.
        """
        with untouched_statistics(self.student, self.bn_stats == 'labeled'):
            losses = self.student.loss(batch_inputs, batch_data_samples)
        return rename_loss_dict(
            'unsup_', scale_losses(losses, self.unsup_weight or 0.0)
        )

    @torch.no_grad()
    def get_pseudo_instances(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> InstanceList:
        """Run the teacher and the labeller.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.
            batch_data_samples (list[DetDataSample]): Samples of the images.

        Returns:
            list[InstanceData]: Pseudo-labels of each image.
        """
        outputs = self.pseudo_labeler.run_teacher(
            self.teacher,
            self.data_preprocessor.normalize(rgb),
            batch_data_samples,
        )
        return self.pseudo_labeler(outputs, batch_data_samples)

    def train(self, mode: bool = True) -> SemiInstanceSegmentor:
        """Set the student's mode; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def _check_hook(self) -> None:
        if self.unsup_weight is None:
            raise ValueError(
                f'This config trains a {type(self).__name__} without a hook '
                'that moves its teacher. Add default_hooks=dict('
                "mean_teacher=dict(type='BurnInMeanTeacherHook', "
                'burn_in=...)).'
            )


def _build(name: str, cfg: OptConfigType) -> nn.Module | None:
    if cfg is not None and 'type' not in cfg:
        raise ValueError(
            f'model.{name} has {dict(cfg)} and no type: options were given '
            'for a part that this config does not have'
        )
    return None if cfg is None else MODELS.build(cfg)


def _check(steps: PseudoLabelSteps, images: Tensor) -> None:
    if __debug__:
        check_pseudo_instances(steps.instances, spatial_size(images))
