# SPDX-License-Identifier: Apache-2.0
"""Find labels that a network contradicts: candidates for label errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from s4m.evaluation.image_matches import ImageMatches, match_image

Coco = Mapping[str, Any]
#: Score from which on a prediction can contradict a label.
CONFIDENT = 0.7
#: Part of a prediction that lies in a label, from which on it is not an
#: object without a label: it may be a part of one.
_COVERED = 0.5


@dataclass(frozen=True)
class Doubt:
    """A label, or the lack of one, that a network contradicts.

    Attributes:
        kind (str): ``class``: the network is confident that the labelled
            object has another class. ``unlabelled``: it is confident of an
            object where there is no label. ``missed``: it finds nothing like
            the labelled object.
        image (dict): Entry of the image.
        label (dict, optional): Annotation; None if there is no label.
        prediction (dict, optional): Prediction; None if there is none.
    """

    kind: str
    image: dict[str, Any]
    label: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None

    @property
    def where(self) -> dict[str, Any]:
        """The annotation that shows the place."""
        place = self.prediction or self.label
        assert place is not None
        return place


def match_all(
    truth: Coco, predictions: Coco
) -> list[tuple[dict[str, Any], ImageMatches]]:
    """Match the predictions and the objects of all predicted images.

    Args:
        truth (Mapping): COCO dictionary with the labels of these images.
        predictions (Mapping): COCO dictionary of the predictions.

    Returns:
        list: pairs of an image and its matches.
    """
    labels, found = (
        group_by_image(data['annotations']) for data in (truth, predictions)
    )
    return [
        (
            image,
            match_image(
                labels.get(image['id'], []),
                found.get(image['id'], []),
                image['height'],
                image['width'],
            ),
        )
        for image in predictions['images']
    ]


def group_by_image(annotations: Iterable[dict]) -> dict[Any, list[dict]]:
    """Return annotations by the id of their image."""
    groups: dict[Any, list[dict]] = {}
    for annotation in annotations:
        groups.setdefault(annotation['image_id'], []).append(annotation)
    return groups


def find_doubts(
    matches: Iterable[tuple[dict[str, Any], ImageMatches]],
) -> list[Doubt]:
    """Find the labels that the predictions of their images contradict.

    Args:
        matches (Iterable): Result of :func:`match_all`, with predictions of
            low scores too: a label counts as missed only if no prediction at
            all has an IoU of one half with it.

    Returns:
        list[Doubt]: the kinds in turn, each with the clearest ones first: by
        score, and by the overlap that a missed label has.
    """
    kinds: dict[str, list[tuple[float, Doubt]]] = {
        'class': [],
        'unlabelled': [],
        'missed': [],
    }
    for image, found in matches:
        for i, p in enumerate(found.predictions):
            if p['score'] < CONFIDENT:
                break
            if found.match[i] >= 0:
                label = found.objects[found.match[i]]
                if label['category_id'] != p['category_id']:
                    doubt = Doubt('class', image, label, p)
                    kinds['class'].append((-p['score'], doubt))
            elif found.covered[i] < _COVERED and found.overlap[i] < 0.5:
                doubt = Doubt('unlabelled', image, prediction=p)
                kinds['unlabelled'].append((-p['score'], doubt))
        for label, overlap in zip(
            found.objects, found.object_overlap, strict=True
        ):
            if overlap < 0.5:
                doubt = Doubt('missed', image, label)
                kinds['missed'].append((float(overlap), doubt))
    return list(_in_turn(kinds.values()))


def _in_turn(kinds: Iterable[list[tuple[float, Doubt]]]) -> Iterator[Doubt]:
    """Take one doubt of each kind, the next of each, and so on."""
    ordered = [sorted(kind, key=lambda pair: pair[0]) for kind in kinds]
    for row in zip_longest(*ordered):
        for pair in row:
            if pair is not None:
                yield pair[1]
