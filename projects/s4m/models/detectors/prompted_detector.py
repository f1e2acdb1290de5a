# SPDX-License-Identifier: Apache-2.0
"""Instance segmentation by a detector and a promptable segmenter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures.masks import resize_valid_part, spatial_size
from s4m.utils.compatibility import narrow_box_encoding
from s4m.utils.transfers import image_indices, to_device

from ..data_preprocessors import to_rgb
from ..promptable import SegmenterEmbeddings, SegmenterOwner
from .box_prompts import (
    best_boxes,
    box_queries,
    mask_targets,
    resize_to_scale,
)
from .contrastive_self_training import ContrastiveSelfTrainingMixin, Pass
from .text_prompts import (
    check_classes,
    check_text_encoder,
    check_text_length,
    choose_classes,
    chunk_size,
    metainfo_with_text,
    relabel,
)


@MODELS.register_module()
class PromptedDetector(
    ContrastiveSelfTrainingMixin, SegmenterOwner, BaseDetector
):
    """Instance segmenter of a box detector and a promptable segmenter.

    The teacher of `SSKD <https://arxiv.org/abs/2604.03841>`_: each box of the
    detector prompts the segmenter for one mask. The detector is any MMDet
    detector that predicts boxes, for instance MM-Grounding-DINO with the
    class names as its text prompt.

    In training, the losses are those of the detector and, with a segmenter
    that is not frozen, ``loss_mask`` and ``loss_dice`` of the masks that the
    ground truth boxes prompt, at the segmenter's resolution. A text encoder
    (``language_model``) does not train. L_pxl is computed on the segmenter's
    image embedding: P_m comes from the masks of the detector's boxes and a
    background query, P_c from the scores of the boxes.

    Args:
        detector (dict): Config of an MMDet detector.
        segmenter (dict): Config of a promptable segmenter. A frozen one is
            not part of checkpoints, see
            :class:`~s4m.models.promptable.SegmenterOwner`.
        classes (Sequence[str], optional): Names of the classes, the text
            prompt of a detector that reads one.
        classes_per_prompt (int, optional): Number of classes in a text of
            training, which has the classes of the batch's objects and random
            others: a text encoder reads 256 tokens. Where the objects have
            more classes, the text has a random part of these, and objects of
            the others are not targets of the detector in this step. Defaults
            to all classes. For evaluation MMDet has
            ``detector.test_cfg.chunked_size``.
        loss_mask (dict, optional): Config of a pixel-wise loss on mask
            logits, such as ``CrossEntropyLoss``; needed where the segmenter
            trains.
        loss_dice (dict, optional): Config of a loss on (N, h * w) mask
            logits, such as ``DiceLoss``; needed where the segmenter trains.
        data_preprocessor (dict): Config of a ``SemiDataPreprocessor``.
        test_cfg (dict, optional): ``score_thr`` (0) and ``max_per_image``
            (100) of the boxes that become prompts, and ``detector_scale``
            (None), the long and the short side in pixels to which the image
            is resized for the detector, as by MMDet's ``Resize`` with
            ``keep_ratio``. A view is resized by the ratio of its original
            image. The segmenter's input is not resized.
        init_cfg (dict, optional): Initialization config.
        **kwargs: Arguments of :class:`ContrastiveSelfTrainingMixin`.

    Raises:
        ValueError: if the classes are missing or too many for the text
            encoder, ``classes_per_prompt`` is given for a detector without a
            text, a trainable segmenter has no mask losses, or a frozen one
            has ``loss_contrast``.
        FileNotFoundError: if the folder of the text encoder is missing.

    Example:
        >>> sam2 = dict(type='SAM2Segmenter', config='nano_sam2',
        ...             checkpoint='nano_sam2')
        >>> detector = dict(type='GroundingDINO')  # and other settings
        >>> model = dict(type='PromptedDetector', detector=detector,
        ...              segmenter=sam2, classes=('person', 'car'))
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
        check_text_encoder(detector)
        self.detector = MODELS.build(detector)
        self.reads_text = hasattr(self.detector, 'language_model')
        self.classes = tuple(classes or ())
        check_classes(
            self.detector,
            self.classes,
            classes_per_prompt,
            needed=self.reads_text or self.loss_contrast is not None,
        )
        self.classes_per_prompt = classes_per_prompt
        if self.reads_text:
            check_text_length(self.detector, self.classes, classes_per_prompt)
            self.detector.language_model.requires_grad_(False)
            self.detector.decoder.ref_point_head.register_forward_pre_hook(
                narrow_box_encoding
            )
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
        self.configure_segmenter(segmenter)
        self.loss_mask, self.loss_dice = (
            None if cfg is None else MODELS.build(cfg)
            for cfg in (loss_mask, loss_dice)
        )
        cfg = test_cfg or {}
        self.score_thr: float = cfg.get('score_thr', 0.0)
        self.max_per_image: int = cfg.get('max_per_image', 100)
        self.detector_scale: tuple[int, int] | None = cfg.get('detector_scale')
        self.train(self.training)

    def train(self, mode: bool = True) -> PromptedDetector:
        """Set the mode; a text encoder stays in eval mode."""
        super().train(mode)
        # A base class sets the mode before the detector is built.
        if getattr(self, 'reads_text', False):
            self.detector.language_model.eval()
        return self

    # ----------------------------------------------------------- evaluation
    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
        rescale: bool = True,
    ) -> SampleList:
        """Predict boxes and their masks.

        Args:
            batch_inputs (Tensor): (B, 3, H, W) normalised images.
            batch_data_samples (list[DetDataSample]): Samples with
                ``img_shape`` and ``ori_shape``.
            rescale (bool): Whether boxes and masks are resized to
                ``ori_shape``. Defaults to True.

        Returns:
            list[DetDataSample]: The same samples, with ``pred_instances``:
            ``bboxes`` (n, 4), ``scores`` and ``labels`` (n, ), and ``masks``
            (n, H, W) bool, best score first.
        """
        results = self._boxes_at_scale(batch_inputs, batch_data_samples)
        rgb = to_rgb(self.data_preprocessor, batch_inputs)
        masks = self._masks(self.segmenter_on(rgb.device).encode(rgb), results)
        padded = spatial_size(batch_inputs)
        for sample, pred, logits in zip(
            batch_data_samples, results, masks, strict=True
        ):
            shape = tuple(sample.img_shape[:2])
            target = tuple(sample.ori_shape[:2]) if rescale else shape
            pred.masks = resize_valid_part(logits, padded, shape, target)
            if rescale:
                (factor,) = to_device(
                    [
                        torch.tensor(
                            [target[1] / shape[1], target[0] / shape[0]]
                        )
                    ],
                    pred.bboxes.device,
                )
                pred.bboxes = pred.bboxes * factor.repeat(2)
            sample.pred_instances = pred
        return batch_data_samples

    def _forward(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList | None = None,
    ):
        """Compute the raw outputs of the detector."""
        return self.detector._forward(batch_inputs, batch_data_samples)

    def extract_feat(self, batch_inputs: Tensor):
        """Compute the features of the detector."""
        return self.detector.extract_feat(batch_inputs)

    def _boxes(self, inputs: Tensor, samples: SampleList) -> InstanceList:
        """Detect the boxes on the padded images, best first."""
        views = [
            DetDataSample(metainfo=self._metainfo(s, self.classes))
            for s in samples
        ]
        if self.reads_text and chunk_size(self.detector) is not None:
            # MMDet reads a text in chunks for single images only.
            for i, view in enumerate(views):
                self.detector.predict(inputs[i : i + 1], [view], rescale=False)
        else:
            self.detector.predict(inputs, views, rescale=False)
        return [
            best_boxes(view.pred_instances, self.score_thr, self.max_per_image)
            for view in views
        ]

    def _boxes_at_scale(
        self, inputs: Tensor, samples: SampleList
    ) -> InstanceList:
        """Detect the boxes on images that are resized to the test size."""
        if self.detector_scale is None:
            return self._boxes(inputs, samples)
        batch, views, factors = resize_to_scale(
            inputs, samples, self.detector_scale
        )
        results = self._boxes(batch, views)
        for item, factor in zip(results, factors, strict=True):
            item.bboxes = item.bboxes / factor
        return results

    def _masks(
        self, embeddings: SegmenterEmbeddings, instances: InstanceList
    ) -> list[Tensor]:
        """Segment the boxes: (n, h, w) logits that cover each image."""
        counts = [len(item) for item in instances]
        boxes = torch.cat([item.bboxes for item in instances])
        image_ids = image_indices(counts, boxes.device)
        logits, _ = self.segmenter.decode(
            embeddings, image_ids, boxes=boxes, multimask=False
        )
        return list(logits[:, 0].split(counts))

    # ------------------------------------------------------------- training
    def loss_with_features(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> Pass:
        """Compute the losses of detector and segmenter; see the mixin."""
        inputs = self.data_preprocessor.normalize(rgb)
        losses = self.detector.loss(
            inputs, self._box_targets(batch_data_samples)
        )
        if self.segmenter_cfg.get('frozen', True):
            return losses, None, None, None
        embeddings = self.segmenter_on(rgb.device).encode(rgb)
        losses.update(self._mask_losses(embeddings, batch_data_samples))
        if self.loss_contrast is None:
            return losses, None, None, None
        masks, classes = self._queries(inputs, embeddings, batch_data_samples)
        return losses, embeddings.image_embed, masks, classes

    def encode_features(self, rgb: Tensor) -> Tensor:
        """Compute the segmenter's image embedding; see the mixin."""
        return self.segmenter_on(rgb.device).encode(rgb).image_embed

    def _box_targets(self, samples: SampleList) -> SampleList:
        """Create the detector's targets, whose labels index the text."""
        instances = [
            InstanceData(
                bboxes=s.gt_instances.bboxes, labels=s.gt_instances.labels
            )
            for s in samples
        ]
        classes = self.classes
        if self.classes_per_prompt is not None:
            chosen = choose_classes(
                torch.cat([item.labels for item in instances]),
                len(classes),
                self.classes_per_prompt,
            )
            # Objects of classes that the text leaves out are not targets.
            instances = relabel(instances, chosen, len(classes))
            classes = tuple(classes[i] for i in chosen.tolist())
        return [
            DetDataSample(
                metainfo=self._metainfo(sample, classes),
                gt_instances=item,
                ignored_instances=InstanceData(
                    bboxes=sample.ignored_instances.bboxes
                ),
            )
            for sample, item in zip(samples, instances, strict=True)
        ]

    def _metainfo(self, sample: DetDataSample, classes: Sequence[str]) -> dict:
        """Return the metainfo for the detector, with a text if needed."""
        if not self.reads_text:
            return sample.metainfo
        return metainfo_with_text(sample.metainfo, classes)

    def _mask_losses(
        self, embeddings: SegmenterEmbeddings, samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute the losses of the masks that the objects' boxes prompt."""
        assert self.loss_mask is not None and self.loss_dice is not None
        instances = [s.gt_instances for s in samples]
        logits = torch.cat(self._masks(embeddings, instances))
        if len(logits) == 0:
            zero = embeddings.image_embed.sum() * 0
            return dict(loss_mask=zero, loss_dice=zero)
        target = mask_targets(
            instances,
            embeddings.image_size,
            spatial_size(logits),
            logits.device,
        )
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
        """Predict boxes and express them as queries, see `box_queries`."""
        self.detector.eval()
        results = self._boxes(inputs, samples)
        self.train()
        masks = self._masks(embeddings, results)
        return box_queries(results, masks, len(self.classes))
