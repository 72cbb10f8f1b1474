"""Finds networks whose results mean nothing, mostly because of wrong labels, weights or a wrong normalisation."""

from collections.abc import Iterator

import numpy as np

from pipeline.study.images import Images
from pipeline.study.intervals import wilson

_IMAGES = 10  # below this number of images nothing is said


def doubts(name: str, predictions: np.ndarray, images: Images) -> Iterator[str]:
    """Yields a line for each sign that a network does not recognise the undistorted images.

    Args:
        predictions: int (n,), classes of the images.
    """
    labels, advice = images.labels, "check --weights, --mean, --std and --classes"
    if len(labels) < _IMAGES:
        return
    if len(np.unique(labels)) > 1 and len(np.unique(predictions)) == 1:
        yield f"{name} predicts {images.names[int(predictions[0])]!r} for all {len(labels):,} images: {advice}"
        return
    right, chance = int((predictions == labels).sum()), 1 / len(images.classes)
    if wilson(right, len(labels)).low <= chance:
        yield (
            f"{name} is right for {100 * right / len(labels):.1f} % of the images, which is no better than chance "
            f"({100 * chance:.2g} %): {advice}"
        )
