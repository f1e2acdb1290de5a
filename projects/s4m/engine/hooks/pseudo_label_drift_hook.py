# SPDX-License-Identifier: Apache-2.0
"""Shows how pseudo-labels develop, and warns when the teacher drifts."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from mmdet.registry import HOOKS
from mmdet.utils import InstanceList
from mmengine.dist import all_reduce
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import Runner
from torch import Tensor, nn

from s4m.datasets.coco_io import read_coco
from s4m.evaluation import ApHistory, TeacherQuality, duplicate_labels
from s4m.utils.model_wrappers import unwrapped_model
from s4m.visualization import read_scalars

from .single_hook import check_single

#: Key of the history in the message hub, which every checkpoint holds.
_HISTORY = 'drift_history'
_ADVICE = (
    'Suppression of duplicates (model.pseudo_labeler.nms_iou_thr=0.5), a '
    'teacher that does not change '
    '(default_hooks.mean_teacher.strategy=fixed), a smaller '
    'model.semi_train_cfg.unsup_weight or a higher score threshold of '
    'model.pseudo_labeler may help: see docs/remedies.md.'
)


@HOOKS.register_module()
class PseudoLabelDriftHook(Hook):
    """Hook that logs pseudo-labels and warns when the AP begins to fall.

    A moving teacher learns from a student that learns from the teacher, so
    that errors of both can grow: the teacher then gives an object two labels,
    or labels where there is no object, while the AP falls. The hook does not
    affect the training. It writes to the log and the visualiser backends

    * at each logging interval ``pseudo_labels/per_image``, the mean number of
      pseudo-labels from which the student learns, before copy-paste, and
      ``pseudo_labels/duplicates``, how many of them repeat a label with a
      higher score
      (:func:`~s4m.evaluation.duplicate_labels.duplicate_labels`);
    * at each validation, where ``ann_file`` names the ground truth of the
      unlabelled images, ``pseudo_labels/matched``, ``second``,
      ``without_object``, ``wrong_class`` and ``matched_iou`` of the teacher
      that trains (:class:`~s4m.evaluation.label_matches.LabelMatches`).

    After each validation it adds the AP to a history, and warns in one line
    when the AP begins to fall
    (:class:`~s4m.evaluation.ap_history.ApHistory`). The history is in the
    checkpoints. At the end of the run the best AP is logged beside the last
    one. A model without a labeller has nothing to log.

    Args:
        patience (int): Number of validations below the best AP before a
            warning. Defaults to 3.
        min_drop (float): Least distance to the best AP of a warning, as a
            fraction. Defaults to 0.01, which is 1 AP.
        monitor (str, optional): Name of the AP in the results of a
            validation. Defaults to None, the ``save_best`` of the checkpoint
            hook, if possible the student's; without it no AP is watched.
        ann_file (str, optional): COCO file with the ground truth of the
            unlabelled images, for data sets whose unlabelled images have
            annotations. The training never sees it. Defaults to None.
        num_images (int): Greatest number of images of ``ann_file`` that are
            compared at each validation. Defaults to 50.

    Raises:
        ValueError: if ``patience``, ``min_drop`` or ``num_images`` is out of
            range.

    Example:
        >>> hook = HOOKS.build(dict(type='PseudoLabelDriftHook', patience=2))
        >>> hook.history.patience
        2
    """

    def __init__(
        self,
        patience: int = 3,
        min_drop: float = 0.01,
        monitor: str | None = None,
        ann_file: str | None = None,
        num_images: int = 50,
    ) -> None:
        if num_images < 1:
            raise ValueError(f'num_images must be >= 1, got {num_images}')
        self.history = ApHistory(patience, min_drop)
        self.monitor = monitor
        self.ann_file = ann_file
        self.num_images = num_images
        self._handle: torch.utils.hooks.RemovableHandle | None = None
        self._quality: TeacherQuality | None = None

    def before_train(self, runner: Runner) -> None:
        """Start watching the pseudo-labels, and restore the history.

        Args:
            runner (Runner): Runner of the training.

        Raises:
            FileNotFoundError: if ``ann_file`` does not exist.
            ValueError: if ``ann_file`` has no unlabelled image.
        """
        model = unwrapped_model(runner)
        source = getattr(model, 'refiner', None)
        if source is None:
            source = getattr(model, 'pseudo_labeler', None)
        if source is None:
            return
        check_single(runner, self, 'drift_log', 'both would log its values')
        if self.ann_file is not None:
            if not Path(self.ann_file).is_file():
                raise FileNotFoundError(
                    f'default_hooks.drift_log.ann_file={self.ann_file!r} '
                    'does not exist. Name a COCO file with the objects of '
                    'the unlabelled images, or None to log without it.'
                )
            # Says what is wrong in a damaged file.
            read_coco(self.ann_file, needs=['images', 'annotations'])
            self._quality = TeacherQuality(
                runner.cfg, self.ann_file, self.num_images
            )
        self._interval = next(
            (h.interval for h in runner.hooks if isinstance(h, LoggerHook)),
            50,
        )
        self._device = next(model.parameters()).device
        self._latest: InstanceList | None = None
        # Images, labels and duplicates: of this process since the last sum
        # over all processes, since the last log, since the last validation.
        self._counts = [0, 0]
        self._duplicates = torch.zeros(
            (), dtype=torch.long, device=self._device
        )
        self._logged, self._validated = torch.zeros(2, 3, dtype=torch.long)
        self._handle = source.register_forward_hook(self._record)
        self.history = ApHistory(
            self.history.patience,
            self.history.min_drop,
            self._former_entries(runner),
        )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Count the pseudo-labels, and log their means where a log is due.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Index of the iteration, as of the ``LoggerHook``.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.
        """
        if self._handle is None:
            return
        if self._latest is not None:
            # Here autocast has ended, in which sums of pixels would overflow.
            self._counts[0] += len(self._latest)
            self._counts[1] += sum(map(len, self._latest))
            self._duplicates += duplicate_labels(self._latest).sum()
            self._latest = None
        if self.every_n_inner_iters(batch_idx, self._interval):
            self._sum_up()
            for name, value in _means(self._logged).items():
                key = f'train/pseudo_labels/{name}'
                runner.message_hub.update_scalar(key, value)
            self._logged.zero_()

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Compare with the ground truth, and warn if the AP begins to fall.

        Args:
            runner (Runner): Runner of the training.
            metrics (dict[str, float], optional): Results of the validation.

        Raises:
            ValueError: if the results lack the AP that is watched.
        """
        if self._handle is None:
            return
        self._sum_up()
        figures = _means(self._validated)
        self._validated.zero_()
        if self._quality is not None:
            quality = self._quality.measure(unwrapped_model(runner))
            for name, value in quality.items():
                runner.message_hub.update_scalar(
                    f'val/pseudo_labels/{name}', value
                )
            figures |= quality
        key = self._watched(runner, metrics or {})
        if key is None:
            return
        if metrics is None or key not in metrics:
            raise ValueError(
                f'The validation has no {key!r}, which default_hooks.'
                'drift_log watches. Set default_hooks.drift_log.monitor to '
                f'one of {sorted(metrics or {})}.'
            )
        falls = self.history.add(runner.iter, metrics[key], figures)
        entries = copy.deepcopy(self.history.entries)
        runner.message_hub.update_info(_HISTORY, entries)
        if falls:
            grow = self.history.growing('per_image', 'duplicates')
            runner.logger.warning(
                f'{self.history.describe_fall(_whose(key))}: the teacher '
                f'{"drifts" if grow else "may drift"}. '
                f'{self._best_weights(runner)} {_ADVICE}'
            )

    def after_train(self, runner: Runner) -> None:
        """Log the best and the last AP, and stop watching.

        Args:
            runner (Runner): Runner of the training.
        """
        if self._handle is None:
            return
        self._handle.remove()
        self._handle = None
        key, entries = self._watched(runner, {}), self.history.entries
        if key is None or not entries:
            return
        text = self.history.describe_end(_whose(key))
        if self.history.best is not entries[-1]:
            text += ' ' + self._best_weights(runner)
        runner.logger.info(text)

    def _record(
        self, source: nn.Module, args: tuple, labels: InstanceList
    ) -> None:
        # Validations, in eval mode, may label images as well.
        if source.training:
            self._latest = labels

    def _sum_up(self) -> None:
        """Add the counts of all processes, of which some may have none."""
        counts = torch.tensor([*self._counts, 0], device=self._device)
        counts[2] = self._duplicates
        all_reduce(counts)
        self._counts = [0, 0]
        self._duplicates.zero_()
        counts = counts.cpu()
        self._logged += counts
        self._validated += counts

    def _former_entries(self, runner: Runner) -> list[dict]:
        """Return the validations before the iteration of a resumed run.

        A checkpoint is written before the validation of its iteration, which
        a resumed run does not repeat. Its results are in the log.
        """
        if runner.iter == 0:
            return []
        entries = list(runner.message_hub.get_info(_HISTORY, []))
        after = entries[-1]['iteration'] if entries else 0
        key, prefix = self._watched(runner, {}), 'pseudo_labels/'
        for step, row in read_scalars(runner.work_dir):
            if after < step <= runner.iter and key in row:
                figures = {
                    name.removeprefix(prefix): value
                    for name, value in row.items()
                    if name.startswith(prefix)
                }
                entry = dict(iteration=step, ap=row[key], figures=figures)
                entries.append(entry)
        return entries

    def _watched(
        self, runner: Runner, metrics: dict[str, float]
    ) -> str | None:
        """Return the name of the AP that is watched, None for none.

        ``save_best='auto'`` means the first of the results.
        """
        if self.monitor is not None:
            return self.monitor
        keys = _saved_keys(runner)
        keys = [k for k in keys if k != 'auto'] or list(metrics)[: len(keys)]
        students = [k for k in keys if k.startswith('student/')]
        return next(iter([*students, *keys]), None)

    def _best_weights(self, runner: Runner) -> str:
        """Say where the checkpoint with the best AP is, in a sentence."""
        key, keys = self._watched(runner, {}), _saved_keys(runner)
        info = 'best_ckpt' if len(keys) == 1 else f'best_ckpt_{key}'
        file = runner.message_hub.get_info(info)
        if file is None or key not in keys:
            return (
                'The best weights are not kept: set '
                f'default_hooks.checkpoint.save_best={key}.'
            )
        return f'The best weights are {file}.'


def _saved_keys(runner: Runner) -> list[str]:
    """List the results whose best checkpoint is kept."""
    return next(
        (
            list(getattr(hook, 'key_indicators', []))
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook)
        ),
        [],
    )


def _whose(key: str) -> str:
    """Name an AP in a sentence, by its name in the results."""
    network, slash, _ = key.partition('/')
    if slash and network in ('student', 'teacher'):
        return f"The {network}'s AP ({key})"
    return f'The AP {key}'


def _means(counts: Tensor) -> dict[str, float]:
    """Compute means per image of (images, labels, duplicates)."""
    images, labels, duplicates = counts.tolist()
    if images == 0:
        return {}
    return dict(per_image=labels / images, duplicates=duplicates / images)
