# SPDX-License-Identifier: Apache-2.0
"""Class names as the text prompt of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor


def check_text_encoder(detector: ConfigType) -> None:
    """Check that the text encoder's folder exists.

    Otherwise transformers looks its name up on the hub.

    Args:
        detector (dict): Config of a detector, with or without a
            ``language_model``.

    Raises:
        FileNotFoundError: if the folder is missing.
    """
    name = detector.get('language_model', {}).get('name')
    if name and '/' in name and not Path(name).expanduser().is_dir():
        raise FileNotFoundError(
            f'The text encoder {name} is not a folder. Save bert-base-uncased '
            'there (config.json, tokenizer files and weights, from a hub or '
            "with transformers' save_pretrained), or set "
            'model.detector.language_model.name to where it is.'
        )


def check_classes(
    detector: BaseDetector,
    classes: Sequence[str] | None,
    classes_per_prompt: int | None,
    needed: bool,
) -> None:
    """Check the names of the classes against the detector.

    Args:
        detector (BaseDetector): An MMDet detector, which has a
            ``language_model`` if it reads a text.
        classes (Sequence[str], optional): Names of the classes.
        classes_per_prompt (int, optional): Number of classes in a text of
            training. Defaults to all.
        needed (bool): Whether the names are needed.

    Raises:
        ValueError: if needed names are missing, or ``classes_per_prompt`` is
            out of range or given for a detector without a text.
    """
    kind = type(detector).__name__
    reads_text = hasattr(detector, 'language_model')
    if needed and not classes:
        raise ValueError(
            f'PromptedDetector with a {kind} needs the names of the classes'
            + (', its text prompt' if reads_text else '')
            + ": set model.classes=('person', 'car', ...)."
        )
    if classes_per_prompt is None:
        return
    if classes_per_prompt < 1:
        raise ValueError(
            f'classes_per_prompt must be >= 1, got {classes_per_prompt}'
        )
    if not reads_text:
        raise ValueError(
            f'classes_per_prompt is {classes_per_prompt}, but a {kind} reads '
            'no text'
        )


def chunk_size(detector: BaseDetector) -> int | None:
    """Return the number of classes in a text of evaluation.

    Args:
        detector (BaseDetector): An MMDet detector that reads a text.

    Returns:
        int | None: The detector's ``test_cfg.chunked_size``, None for all
        classes.
    """
    test_cfg = getattr(detector, 'test_cfg', None) or {}
    size = test_cfg.get('chunked_size', -1)
    return size if size > 0 else None


def check_text_length(
    detector: BaseDetector,
    classes: Sequence[str],
    classes_per_prompt: int | None = None,
) -> None:
    """Refuse a text whose end the text encoder would cut off.

    MMDet cuts it off silently, so the last classes would never be learnt or
    predicted.

    Args:
        detector (BaseDetector): An MMDet detector that reads a text.
        classes (Sequence[str]): Names of the classes.
        classes_per_prompt (int, optional): Number of classes in a text of
            training. Defaults to all.

    Raises:
        ValueError: if the longest text of training or evaluation does not
            fit.
    """
    encoder = detector.language_model
    counts = [len(encoder.tokenizer.tokenize(f'{name}. ')) for name in classes]
    limit = encoder.max_tokens - 2  # two tokens begin and end a text
    longest = sorted(counts, reverse=True)[:classes_per_prompt]
    if sum(longest) > limit:
        raise ValueError(
            f'The names of {len(longest)} classes are up to '
            f'{sum(longest)} tokens, the text encoder reads {limit}: set '
            'model.classes_per_prompt to fewer.'
        )
    size = chunk_size(detector) or len(counts)
    chunks = [sum(counts[i : i + size]) for i in range(0, len(counts), size)]
    if max(chunks) > limit:
        raise ValueError(
            f'The names of {size} classes are up to {max(chunks)} tokens, '
            f'the text encoder reads {limit}: set '
            'model.detector.test_cfg.chunked_size to fewer.'
        )


def metainfo_with_text(metainfo: dict, classes: Sequence[str]) -> dict:
    """Copy the metainfo of an image with the class names as its text.

    Args:
        metainfo (dict): Metainfo of the image, which is not changed.
        classes (Sequence[str]): Names of the classes.

    Returns:
        dict: The metainfo with the names as entities, so that MMDet needs no
        parser of sentences (nltk).

    Example:
        >>> metainfo_with_text(dict(img_id=7), ('person', 'car'))
        {'img_id': 7, 'text': ('person', 'car'), 'custom_entities': True}
    """
    return dict(metainfo, text=classes, custom_entities=True)


def choose_classes(labels: Tensor, num_classes: int, limit: int) -> Tensor:
    """Choose the classes of the objects, and random others.

    Args:
        labels (Tensor): (n, ) int64 labels of the objects.
        num_classes (int): Number of all classes.
        limit (int): Largest number of classes to choose. Where the objects
            have more, a random part of their classes is chosen.

    Returns:
        Tensor: (min(limit, num_classes), ) int64 labels in ascending order.
    """
    keys = torch.rand(num_classes, device=labels.device)
    keys[labels] += 1
    return keys.topk(min(limit, num_classes)).indices.sort().values


def relabel(
    instances: InstanceList, chosen: Tensor, num_classes: int
) -> InstanceList:
    """Replace labels by their positions among the chosen classes.

    Args:
        instances (list[InstanceData]): Objects with ``labels`` (n, ).
        chosen (Tensor): (k, ) int64 chosen labels.
        num_classes (int): Number of all classes.

    Returns:
        list[InstanceData]: Copies with labels in 0..k - 1, without the
        objects of other classes.
    """
    place = torch.full((num_classes,), -1, device=chosen.device)
    place[chosen] = torch.arange(len(chosen), device=chosen.device)
    instances = [item[place[item.labels] >= 0] for item in instances]
    for item in instances:
        item.labels = place[item.labels]
    return instances
