# SPDX-License-Identifier: Apache-2.0
"""Boxes of a detector, masks of a promptable segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.model import stack_batch
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures.masks import pad_masks, resize_valid_part

from ..data_preprocessors import to_rgb
from ..promptable import SegmenterEmbeddings, attach_segmenter
from .contrastive_detectors import (
    _NOWHERE,
    ContrastiveDistillMixin,
    Pass,
)


@MODELS.register_module()
class PromptedDetector(ContrastiveDistillMixin, BaseDetector):
    """An instance segmenter of two foundation models.

    The teacher of `SSKD <https://arxiv.org/abs/2604.03841>`_: a detector, for
    instance MM-Grounding-DINO with the class names as its text prompt, gives
    boxes, each of which prompts the segmenter for one mask. Any MMDet
    detector that predicts boxes will do.

    Trained, it adds up the detector's own losses and, with a segmenter that
    is not frozen, ``loss_mask`` and ``loss_dice`` of the masks that the
    objects' boxes prompt, at the segmenter's resolution. A text encoder
    (``language_model``) stays as it is. L_pxl is on the segmenter's image
    embedding: P_m from the masks of the detector's boxes and one query that
    is the background, P_c from their scores, what is left of 1 being "no
    object".

    Args:
        detector (dict): Config of an MMDet detector.
        segmenter (dict): Config of a promptable segmenter. A frozen one is
            built when it is first used and is in no checkpoint.
        classes (Sequence[str], optional): Names of the classes, the text
            prompt of a detector that reads one.
        classes_per_prompt (int, optional): In training, the text has the
            classes of the batch's objects and random others, this many in
            all: a text encoder reads 256 tokens. Of more classes than that a
            random part is asked for, and objects of the others are no
            targets of the detector in this step. None, the default, asks for
            all classes. For evaluation MMDet has
            ``detector.test_cfg.chunked_size``.
        loss_mask (dict, optional): Of (N, h * w) mask logits.
        loss_dice (dict, optional): The same.
        data_preprocessor (dict): A ``SemiDataPreprocessor``.
        test_cfg (dict, optional): ``score_thr`` (0) and ``max_per_image``
            (100) of the boxes that become prompts, and ``detector_scale``
            (None), the long and the short side in pixels that the detector
            sees an image at: the image is resized by the ratio that brings
            the original image to this scale, as MMDet's ``Resize`` with
            ``keep_ratio``. The segmenter sees the image as it comes.
        init_cfg (dict, optional): Initialization config.
        **kwargs: Those of :class:`ContrastiveDistillMixin`.

    Raises:
        ValueError: if a text prompt is needed and there are no classes or
            too many for the text encoder, ``classes_per_prompt`` is given
            for a detector without a text, a trainable segmenter has no mask
            losses, or ``loss_contrast`` is given with a frozen one.
        FileNotFoundError: if the folder of the text encoder is missing.
    """

    def __init__(
        self,
        detector: ConfigType,
        segmenter: ConfigType,
        classes: Sequence[str] | None = None,
        classes_per_prompt: int | None = None,
        loss_mask: OptConfigType = None,
        loss_dice: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptConfigType = None,
        **kwargs,
    ) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor, init_cfg=init_cfg, **kwargs
        )
        _check_text_encoder(detector)
        self.detector = MODELS.build(detector)
        self.reads_text = hasattr(self.detector, 'language_model')
        self.classes = None if classes is None else tuple(classes)
        if not self.classes and (self.reads_text or self.loss_contrast):
            raise ValueError(
                f'PromptedDetector with a {type(self.detector).__name__} '
                'needs the names of the classes'
                + (', its text prompt' if self.reads_text else '')
                + ": set model.classes=('person', 'car', ...)."
            )
        if classes_per_prompt is not None and classes_per_prompt < 1:
            raise ValueError(
                f'classes_per_prompt must be >= 1, got {classes_per_prompt}'
            )
        if classes_per_prompt is not None and not self.reads_text:
            raise ValueError(
                f'classes_per_prompt is {classes_per_prompt}, but a '
                f'{type(self.detector).__name__} reads no text'
            )
        self.classes_per_prompt = classes_per_prompt
        if self.reads_text:
            self._check_text_length()
            self.detector.language_model.requires_grad_(False)
            self.detector.decoder.ref_point_head.register_forward_pre_hook(
                _narrow_encoding
            )
        self.segmenter_cfg = segmenter
        frozen = segmenter.get('frozen', True)
        if frozen and self.loss_contrast is not None:
            raise ValueError(
                'loss_contrast is on the embedding of the segmenter, which '
                'is frozen: set model.segmenter.frozen=False.'
            )
        if not frozen and (loss_mask is None or loss_dice is None):
            raise ValueError(
                'A segmenter that trains needs loss_mask and loss_dice.'
            )
        attach_segmenter(self, None if frozen else MODELS.build(segmenter))
        self.loss_mask, self.loss_dice = (
            None if cfg is None else MODELS.build(cfg)
            for cfg in (loss_mask, loss_dice)
        )
        cfg = dict(score_thr=0.0, max_per_image=100, detector_scale=None)
        cfg |= dict(test_cfg or {})
        self.score_thr = cfg['score_thr']
        self.max_per_image = cfg['max_per_image']
        self.detector_scale = cfg['detector_scale']
        self.train(self.training)

    def train(self, mode: bool = True) -> PromptedDetector:
        """Set the mode; a text encoder stays in eval mode."""
        super().train(mode)
        # The mode is set by a base class before there is a detector.
        if getattr(self, 'reads_text', False):
            self.detector.language_model.eval()
        return self

    def build_segmenter(self) -> None:
        """Build a frozen segmenter from its config, once."""
        if self.segmenter is None:
            attach_segmenter(self, MODELS.build(self.segmenter_cfg))

    # ----------------------------------------------------------- evaluation
    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
        rescale: bool = True,
    ) -> SampleList:
        """Boxes, and their masks.

        Args:
            batch_inputs (Tensor): (B, 3, H, W), normalised.
            batch_data_samples (list[DetDataSample]): with ``img_shape`` and
                ``ori_shape``.
            rescale (bool): To ``ori_shape``.

        Returns:
            list[DetDataSample]: the same objects, with ``pred_instances``:
            ``bboxes`` (n, 4), ``scores`` and ``labels`` (n, ), ``masks``
            (n, H, W) bool, best score first.
        """
        results = self._boxes_at_scale(batch_inputs, batch_data_samples)
        masks = self._masks(
            self._encode(to_rgb(self.data_preprocessor, batch_inputs)), results
        )
        canvas = tuple(batch_inputs.shape[-2:])
        for sample, pred, logits in zip(
            batch_data_samples, results, masks, strict=True
        ):
            shape = tuple(sample.img_shape[:2])
            target = tuple(sample.ori_shape[:2]) if rescale else shape
            pred.masks = resize_valid_part(logits, canvas, shape, target)
            if rescale:
                factor = pred.bboxes.new_tensor(
                    [target[1] / shape[1], target[0] / shape[0]]
                )
                pred.bboxes = pred.bboxes * factor.repeat(2)
            sample.pred_instances = pred
        return batch_data_samples

    def _forward(self, batch_inputs: Tensor, batch_data_samples=None):
        """Raw outputs of the detector."""
        return self.detector._forward(batch_inputs, batch_data_samples)

    def extract_feat(self, batch_inputs: Tensor):
        """Features of the detector."""
        return self.detector.extract_feat(batch_inputs)

    def _boxes(self, inputs: Tensor, samples: SampleList) -> InstanceList:
        """The detector's boxes on the inputs' canvas, best first."""
        views = [
            DetDataSample(metainfo=self._with_text(s.metainfo, self.classes))
            for s in samples
        ]
        test_cfg = getattr(self.detector, 'test_cfg', None) or {}
        if self.reads_text and test_cfg.get('chunked_size', -1) > 0:
            # MMDet reads the text in chunks for one image at a time.
            for i, view in enumerate(views):
                self.detector.predict(inputs[i : i + 1], [view], rescale=False)
        else:
            self.detector.predict(inputs, views, rescale=False)
        results = []
        for view in views:
            pred = view.pred_instances
            order = pred.scores.argsort(descending=True)
            order = order[pred.scores[order] > self.score_thr]
            order = order[: self.max_per_image]
            results.append(
                InstanceData(
                    bboxes=pred.bboxes[order],
                    scores=pred.scores[order],
                    labels=pred.labels[order],
                )
            )
        return results

    def _boxes_at_scale(
        self, inputs: Tensor, samples: SampleList
    ) -> InstanceList:
        """Boxes that the detector finds at its own test size."""
        if self.detector_scale is None:
            return self._boxes(inputs, samples)
        images, views, factors = [], [], []
        for image, sample in zip(inputs, samples, strict=True):
            height, width = sample.img_shape[:2]
            size, factor = _rescaled(
                (height, width), sample.ori_shape[:2], self.detector_scale
            )
            image = F.interpolate(
                image[None, :, :height, :width],
                size,
                mode='bilinear',
                align_corners=False,
                antialias=True,
            )
            images.append(image[0])
            views.append(dict(sample.metainfo, img_shape=size))
            factors.append(inputs.new_tensor(factor).repeat(2))
        # Padded with 0, which is the mean pixel of normalised ones.
        batch = stack_batch(images)
        padded = tuple(batch.shape[-2:])
        views = [
            DetDataSample(
                metainfo=view
                | dict(batch_input_shape=padded, pad_shape=padded)
            )
            for view in views
        ]
        results = self._boxes(batch, views)
        for item, factor in zip(results, factors, strict=True):
            item.bboxes = item.bboxes / factor
        return results

    def _encode(self, rgb: Tensor) -> SegmenterEmbeddings:
        self.build_segmenter()
        return self.segmenter.encode(rgb)

    def _masks(
        self, embeddings: SegmenterEmbeddings, instances: InstanceList
    ) -> list[Tensor]:
        """(n, h, w) mask logits of each image's boxes, over the canvas."""
        counts = [len(item) for item in instances]
        boxes = torch.cat([item.bboxes for item in instances])
        image_ids = torch.repeat_interleave(
            torch.arange(len(counts)), torch.tensor(counts)
        ).to(boxes.device)
        logits, _ = self.segmenter.decode(
            embeddings, image_ids, boxes=boxes, multimask=False
        )
        return list(logits[:, 0].split(counts))

    # ------------------------------------------------------------- training
    def loss_with_features(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> Pass:
        """See :class:`ContrastiveDistillMixin`.

        Features and logits are None where no contrastive loss needs them.
        """
        inputs = self.data_preprocessor.normalize(rgb)
        losses = self.detector.loss(
            inputs, self._box_targets(batch_data_samples)
        )
        if self.segmenter_cfg.get('frozen', True):
            return losses, None, None, None
        embeddings = self._encode(rgb)
        losses.update(self._mask_losses(embeddings, batch_data_samples))
        if self.loss_contrast is None:
            return losses, None, None, None
        masks, classes = self._queries(inputs, embeddings, batch_data_samples)
        return losses, embeddings.image_embed, masks, classes

    def encode_features(self, rgb: Tensor) -> Tensor:
        """The segmenter's image embedding."""
        return self._encode(rgb).image_embed

    def _box_targets(self, samples: SampleList) -> SampleList:
        """Boxes and labels, and the text whose entries the labels count."""
        instances = [
            InstanceData(
                bboxes=s.gt_instances.bboxes, labels=s.gt_instances.labels
            )
            for s in samples
        ]
        classes = self.classes
        if self.classes_per_prompt is not None:
            chosen = _choose(
                torch.cat([item.labels for item in instances]),
                len(classes),
                self.classes_per_prompt,
            )
            place = torch.full((len(classes),), -1, device=chosen.device)
            place[chosen] = torch.arange(len(chosen), device=chosen.device)
            # What the text does not ask for is no target.
            instances = [item[place[item.labels] >= 0] for item in instances]
            for item in instances:
                item.labels = place[item.labels]
            classes = tuple(classes[i] for i in chosen.tolist())
        return [
            DetDataSample(
                metainfo=self._with_text(sample.metainfo, classes),
                gt_instances=item,
                ignored_instances=InstanceData(
                    bboxes=sample.ignored_instances.bboxes
                ),
            )
            for sample, item in zip(samples, instances, strict=True)
        ]

    def _check_text_length(self) -> None:
        """Refuse a text whose end the text encoder would cut off.

        MMDet cuts it silently: the classes behind are never learnt or found.
        """
        encoder = self.detector.language_model
        counts = [
            len(encoder.tokenizer.tokenize(f'{name}. '))
            for name in self.classes
        ]
        limit = encoder.max_tokens - 2  # that begin and end a text
        longest = sorted(counts, reverse=True)[: self.classes_per_prompt]
        if sum(longest) > limit:
            raise ValueError(
                f'The names of {len(longest)} classes are up to '
                f'{sum(longest)} tokens, the text encoder reads {limit}: set '
                'model.classes_per_prompt to fewer.'
            )
        test_cfg = getattr(self.detector, 'test_cfg', None) or {}
        size = test_cfg.get('chunked_size', -1)
        size = size if size > 0 else len(counts)
        chunks = [
            sum(counts[i : i + size]) for i in range(0, len(counts), size)
        ]
        if max(chunks) > limit:
            raise ValueError(
                f'The names of {size} classes are up to {max(chunks)} tokens, '
                f'the text encoder reads {limit}: set '
                'model.detector.test_cfg.chunked_size to fewer.'
            )

    def _with_text(self, metainfo: dict, classes) -> dict:
        if not self.reads_text:
            return metainfo
        # As entities: no parser of sentences (nltk) is needed.
        return dict(metainfo, text=classes, custom_entities=True)

    def _mask_losses(
        self, embeddings: SegmenterEmbeddings, samples: SampleList
    ) -> dict[str, Tensor]:
        """Of the masks that the objects' own boxes prompt."""
        instances = [s.gt_instances for s in samples]
        logits = torch.cat(self._masks(embeddings, instances))
        if len(logits) == 0:
            nothing = embeddings.image_embed.sum() * 0
            return dict(loss_mask=nothing, loss_dice=nothing)
        masks = torch.cat(
            [
                pad_masks(item.masks, embeddings.canvas_size, logits.device)
                for item in instances
            ]
        )
        seen = F.interpolate(
            masks[:, None].float(), logits.shape[-2:], mode='area'
        )
        target = (seen.flatten(1) > 0.5).float()
        logits = logits.flatten(1)
        return dict(
            loss_mask=self.loss_mask(logits.reshape(-1), target.reshape(-1)),
            loss_dice=self.loss_dice(logits, target),
        )

    @torch.no_grad()
    def _queries(
        self,
        inputs: Tensor,
        embeddings: SegmenterEmbeddings,
        samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits and class log-probabilities of boxes and background."""
        self.detector.eval()
        results = self._boxes(inputs, samples)
        self.train()
        masks = self._masks(embeddings, results)
        num_classes = len(self.classes)
        num_queries = 1 + max(len(item) for item in results)
        # The background: logit 0 everywhere, certainly no object.
        size = (len(results), num_queries, *masks[0].shape[-2:])
        all_masks = inputs.new_full(size, _NOWHERE)
        all_masks[:, 0] = 0
        probs = inputs.new_zeros((*size[:2], num_classes + 1))
        probs[..., num_classes] = 1
        for i, (item, logits) in enumerate(zip(results, masks, strict=True)):
            rows = torch.arange(1, 1 + len(item), device=inputs.device)
            all_masks[i, rows] = logits.float()
            probs[i, rows, num_classes] = 1 - item.scores.float()
            probs[i, rows, item.labels] = item.scores.float()
        return all_masks, probs.clamp(min=1e-6).log()


def _rescaled(
    shape: tuple[int, int],
    ori_shape: tuple[int, int],
    scale: tuple[int, int],
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Size of a view where its original has a scale.

    Args:
        shape (tuple[int, int]): (H, W) of the view.
        ori_shape (tuple[int, int]): (H, W) of the original image.
        scale (tuple[int, int]): The longest and the shortest side that the
            original may have, in any order.

    Returns:
        tuple: (H, W) and the ratios (x, y) to the view.
    """
    ratio = min(
        max(scale) / max(ori_shape),
        min(scale) / min(ori_shape),
    )
    # Rounded as mmcv does.
    height, width = (int(side * ratio + 0.5) for side in shape)
    return (height, width), (width / shape[1], height / shape[0])


def _choose(labels: Tensor, num_classes: int, limit: int) -> Tensor:
    """Classes of the objects, filled up with random others, in order.

    Where the objects have more classes than ``limit``, random ones of them.
    """
    keys = torch.rand(num_classes, device=labels.device)
    keys[labels] += 1
    return keys.topk(min(limit, num_classes)).indices.sort().values


def _narrow_encoding(head, args: tuple[Tensor]) -> tuple[Tensor] | None:
    """Give Grounding DINO's box embedding the encoding that it was made for.

    onedl-mmdetection 3.5.1 encodes a coordinate in 256 channels for DINO; the
    head of Grounding DINO, and its published weights, take 128. Their
    frequencies are every second one of the wider encoding's.
    """
    (encoding,) = args
    width = head.layers[0].in_features
    if encoding.shape[-1] != 2 * width:
        return None
    # Pairs of sine and cosine, a coordinate after the other.
    pairs = encoding.unflatten(-1, (-1, 2))[..., ::2, :]
    return (pairs.flatten(-2),)


def _check_text_encoder(detector: ConfigType) -> None:
    """A folder that is not there would be taken for a hub's name."""
    name = detector.get('language_model', {}).get('name')
    if name and '/' in name and not Path(name).expanduser().is_dir():
        raise FileNotFoundError(
            f'The text encoder {name} is no folder. Save bert-base-uncased '
            'there (config.json, tokenizer files and weights, from a hub or '
            "with transformers' save_pretrained), or set "
            'model.detector.language_model.name to where it is.'
        )
