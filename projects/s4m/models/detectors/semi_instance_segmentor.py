# SPDX-License-Identifier: Apache-2.0
"""Teacher, student and the order of one semi-supervised iteration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from mmdet.models.detectors import SemiBaseDetector
from mmdet.models.utils import rename_loss_dict, reweight_loss_dict
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmengine.structures import InstanceData
from torch import Tensor, nn

from s4m.structures.masks import (
    masks_at_image_size,
    masks_to_boxes,
    resize_masks,
)
from s4m.utils.checkpoints import compare_state_dicts

from ..dense_heads import DistillMask2FormerHead

_ON_STUDENT = dict(
    predict_on='student', forward_on='student', extract_feat_on='student'
)


@MODELS.register_module()
class SemiInstanceSegmentor(SemiBaseDetector):
    """Mean-teacher instance segmentation: Guided Distillation and S4M.

    The parts do the maths; :meth:`loss` is the order in which they run.
    Guided Distillation has a labeller and strong augmentation, S4M adds the
    refiner and copy-paste. Works around any MMDet instance segmenter: with
    the ``QueryPseudoLabeler`` for the MaskFormer family, with the
    ``PredictionPseudoLabeler`` for all of them.

    Args:
        detector (dict): Config of teacher and student.
        data_preprocessor (dict): A ``SemiDataPreprocessor``.
        pseudo_labeler (dict): Teacher's output -> pseudo-labels.
        refiner (dict, optional): Replaces their masks. Needs the
            ``PseudoLabelRefineHook``.
        copy_paste (dict, optional): Exchanges instances between images.
        strong_augment (dict, optional): Colours of the student's view.
        teacher_checkpoint (str, optional): File, or work directory (its best
            checkpoint, else its last), that the teacher starts from. Read in
            :meth:`init_weights` only.
        semi_train_cfg (dict, optional): ``sup_weight`` (1) and
            ``unsup_weight`` (2) of the two losses.
        semi_test_cfg (dict, optional): ``predict_on`` (``student``) etc., as
            in ``SemiBaseDetector``.
        init_cfg (dict, optional): Initialization config.

    Needs the ``BurnInMeanTeacherHook``; the first training step fails
    without it.
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
            semi_train_cfg=dict(semi_train_cfg or {}),
            semi_test_cfg={**_ON_STUDENT, **(semi_test_cfg or {})},
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.pseudo_labeler = MODELS.build(pseudo_labeler)
        self.refiner = _build(refiner)
        self.copy_paste = _build(copy_paste)
        self.strong_augment = _build(strong_augment)
        #: Whether the student's head takes masks as tensors at their own
        #: size; other detectors get boxes and MMDet's ``BitmapMasks``.
        self.takes_mask_tensors = isinstance(
            getattr(self.student, 'panoptic_head', None),
            DistillMask2FormerHead,
        )
        self.teacher_checkpoint = teacher_checkpoint
        self.sup_weight = float(self.semi_train_cfg.get('sup_weight', 1.0))
        #: Switched by the mean-teacher hook; 0 skips the unlabelled images.
        self.unsup_weight = float(self.semi_train_cfg.get('unsup_weight', 2.0))
        #: Called with (pixels, pseudo-labels) of the teacher's view.
        self.pseudo_label_listeners: list[
            Callable[[Tensor, InstanceList], None]
        ] = []
        self._missing_hooks = {'BurnInMeanTeacherHook'}
        if self.refiner is not None:
            self._missing_hooks.add('PseudoLabelRefineHook')

    # ------------------------------------------------------------ training
    def loss(
        self,
        multi_batch_inputs: dict[str, Tensor],
        multi_batch_data_samples: dict[str, SampleList],
    ) -> dict[str, Tensor]:
        """One iteration.

        Args:
            multi_batch_inputs (dict): ``sup``, ``unsup_teacher`` and
                ``unsup_student``, each (B, 3, H, W) RGB in 0..255. The two
                unlabelled views show the same pixels in other colours.
            multi_batch_data_samples (dict): the same branches.

        Returns:
            dict[str, Tensor]: ``sup_*`` and ``unsup_*`` losses, and
            ``num_pseudo``, pseudo-labels per image.
        """
        self._check_hooks()
        inputs, samples = multi_batch_inputs, multi_batch_data_samples
        normalize = self.data_preprocessor.normalize

        losses = self.loss_by_gt_instances(
            normalize(inputs['sup']), samples['sup']
        )
        if self.unsup_weight == 0:
            return losses

        teacher_view = inputs['unsup_teacher']
        instances = self.get_pseudo_instances(
            teacher_view, samples['unsup_teacher']
        )
        mask_size = tuple(instances[0].masks.shape[-2:])
        if self.refiner is not None:
            instances = self.refiner(teacher_view, instances)
        for listener in self.pseudo_label_listeners:
            listener(teacher_view, instances)
        losses['num_pseudo'] = _mean_count(instances, teacher_view)

        images = inputs['unsup_student']
        if self.copy_paste is not None:
            images, instances = self.copy_paste(images, instances)
            pasted = sum(item.pasted.sum() for item in instances)
            losses['num_pasted'] = pasted / len(instances)
        size = tuple(images.shape[-2:])
        student_samples = samples['unsup_student']
        if self.strong_augment is not None:
            images = self.strong_augment(
                images, valid_sizes(student_samples, instances, size)
            )

        for sample, item in zip(student_samples, instances, strict=True):
            if self.takes_mask_tensors:
                sample.gt_instances = InstanceData(
                    labels=item.labels,
                    masks=resize_masks(item.masks, mask_size),
                )
            else:
                sample.gt_instances = detector_targets(item, size)
        losses.update(
            self.loss_by_pseudo_instances(normalize(images), student_samples)
        )
        return losses

    def loss_by_gt_instances(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Student's losses on (B, 3, H, W) labelled images."""
        losses = self.student.loss(batch_inputs, batch_data_samples)
        return rename_loss_dict(
            'sup_', reweight_loss_dict(losses, self.sup_weight)
        )

    def loss_by_pseudo_instances(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Student's losses on (B, 3, H, W) pseudo-labelled images.

        An image without pseudo-labels contributes its "no object" loss.
        """
        losses = self.student.loss(batch_inputs, batch_data_samples)
        return rename_loss_dict(
            'unsup_', reweight_loss_dict(losses, self.unsup_weight)
        )

    @torch.no_grad()
    def get_pseudo_instances(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> InstanceList:
        """Teacher's pseudo-labels of (B, 3, H, W) pixels."""
        outputs = self.pseudo_labeler.run_teacher(
            self.teacher,
            self.data_preprocessor.normalize(rgb),
            batch_data_samples,
        )
        return self.pseudo_labeler(outputs, batch_data_samples)

    def train(self, mode: bool = True) -> SemiInstanceSegmentor:
        """Set the student's mode; the teacher always stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    # --------------------------------------------------------------- hooks
    def hook_ready(self, name: str) -> None:
        """A hook says that it is there."""
        self._missing_hooks.discard(name)

    def _check_hooks(self) -> None:
        if self._missing_hooks:
            names = sorted(self._missing_hooks)
            raise RuntimeError(
                f'This config trains a {type(self).__name__} without '
                f'{" and ".join(names)}: `custom_hooks` replaces the list of '
                'the base config, so repeat its hooks there: '
                + ', '.join(f"dict(type='{name}', ...)" for name in names)
            )

    # ------------------------------------------------------------- weights
    def init_weights(self) -> None:
        """Initialise both networks, then load the teacher's checkpoint."""
        super().init_weights()
        if self.teacher_checkpoint is not None:
            load_detector(self.teacher, self.teacher_checkpoint)


def _build(cfg: OptConfigType) -> nn.Module | None:
    return None if cfg is None else MODELS.build(cfg)


def _mean_count(instances: InstanceList, like: Tensor) -> Tensor:
    return like.new_tensor(sum(len(i) for i in instances) / len(instances))


def valid_sizes(
    batch_data_samples: SampleList,
    instances: InstanceList,
    image_size: tuple[int, int],
) -> list[tuple[int, int]]:
    """Sizes of images in their padding, with what was pasted there.

    Args:
        batch_data_samples (list[DetDataSample]): with ``img_shape``.
        instances (list[InstanceData]): after copy-paste with ``pasted`` (n, )
            bool and ``masks`` (n, H, W); an instance that lies in the padding
            belongs to the image.
        image_size (tuple[int, int]): (H, W) of the padded images.

    Returns:
        list[tuple[int, int]]: (h, w) of each image.
    """
    sizes = []
    for sample, item in zip(batch_data_samples, instances, strict=True):
        size = tuple(sample.img_shape[:2])
        if size != image_size and 'pasted' in item:
            seen = item.masks[item.pasted].any(0)
            # One past the last row and column, 0 where nothing was pasted.
            ends = [
                (axis * torch.arange(1, 1 + len(axis), device=axis.device))
                for axis in (seen.any(1), seen.any(0))
            ]
            height, width = torch.stack([end.max() for end in ends]).tolist()
            size = max(size[0], height), max(size[1], width)
        sizes.append(size)
    return sizes


def detector_targets(
    item: InstanceData, size: tuple[int, int]
) -> InstanceData:
    """Pseudo-labels as any MMDet detector takes its ground truth.

    Args:
        item (InstanceData): pseudo-labels.
        size (tuple[int, int]): (H, W) of the padded images.

    Returns:
        InstanceData: ``labels``, ``bboxes`` around the masks, and ``masks``
        as ``BitmapMasks``, which live on the host: MMDet's class. Masks
        without a pixel are left out, they have no box.
    """
    masks = masks_at_image_size(item, size)
    kept = masks.flatten(1).any(1)
    masks = masks[kept]
    return InstanceData(
        labels=item.labels[kept],
        bboxes=masks_to_boxes(masks),
        masks=BitmapMasks(masks.byte().cpu().numpy(), *size),
    )


# ------------------------------------------------------------- checkpoints
def find_checkpoint(path: str) -> Path:
    """A checkpoint file, or the best, else the last, of a work directory.

    Raises:
        FileNotFoundError: with the command that makes it.
    """
    where = Path(path).expanduser()
    if where.is_file():
        return where
    if where.is_dir():
        best = sorted(
            where.glob('best_*.pth'), key=lambda p: p.stat().st_mtime
        )
        if best:
            return best[-1]
        last = where / 'last_checkpoint'
        if last.is_file() and Path(last.read_text().strip()).is_file():
            return Path(last.read_text().strip())
    name = where.parent.name if where.suffix == '.pth' else where.name
    config = next(Path('configs').rglob(f'{name}.py'), f'CONFIG ({name}.py)')
    raise FileNotFoundError(
        f'No teacher checkpoint at {where}. Train the teacher first: '
        f'tools/dist_train.sh {config} GPUS, or set '
        'model.teacher_checkpoint to a file or a work directory.'
    )


def load_detector(detector: nn.Module, path: str) -> None:
    """Load a detector's weights strictly.

    Args:
        detector (nn.Module): Receives the weights.
        path (str): A checkpoint of such a detector, or of a
            ``SemiInstanceSegmentor``, whose student is taken.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it does not fit the detector.
    """
    file = find_checkpoint(path)
    try:
        checkpoint = CheckpointLoader.load_checkpoint(str(file), 'cpu')
    except Exception as e:
        raise ValueError(
            f'Teacher checkpoint {file} cannot be read: {e}'
        ) from e
    state = network_state(checkpoint, 'student')
    check_fits(detector, state, str(file))
    detector.load_state_dict(state)
    print_log(f'Teacher: weights of {file}', logger='current')


def network_state(checkpoint: dict, name: str) -> dict[str, Tensor]:
    """Weights of one network of a checkpoint.

    Args:
        checkpoint (dict): A checkpoint of a detector, or of a
            ``SemiInstanceSegmentor``.
        name (str): The network of the latter, ``teacher`` or ``student``.
    """
    state = checkpoint.get('state_dict', checkpoint)
    chosen = {
        k.removeprefix(f'{name}.'): v
        for k, v in state.items()
        if k.startswith(f'{name}.')
    }
    return chosen or state


def check_fits(
    detector: nn.Module, state: dict[str, Tensor], file: str
) -> None:
    """Refuse weights that a teacher would only take in part.

    Args:
        detector (nn.Module): The teacher.
        state (dict): Weights.
        file (str): Where they are from, for messages.

    Raises:
        ValueError: if a tensor is missing, unexpected or of another shape.
    """
    own = detector.state_dict()
    missing, unexpected, differ = compare_state_dicts(own, state)
    shapes = [
        f'{k}: {tuple(state[k].shape)} in the file, {tuple(own[k].shape)} here'
        for k in differ
    ]
    classes = [s for s in shapes if 'cls_embed' in s]
    if classes:
        raise ValueError(
            f'Teacher checkpoint {file} was trained for another number of '
            f'classes: {classes[0]} (classes + 1).'
        )
    if missing or unexpected or shapes:
        raise ValueError(
            f'Teacher checkpoint {file} does not fit the detector: missing '
            f'{missing[:3]} ({len(missing)}), unexpected {unexpected[:3]} '
            f'({len(unexpected)}), shapes {shapes[:3]} ({len(shapes)}). Do '
            'teacher and student have the same backbone and head?'
        )
