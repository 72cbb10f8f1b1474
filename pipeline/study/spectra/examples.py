"""The five top classes of single images at one rank, by every network: figure 4 of the paper."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.study.distortion.families import rank_images
from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.spectra.spectrum import classify

TOP = 5


@dataclass(frozen=True)
class Examples:
    """Images at one rank with the top classes of every network.

    Attributes:
        images: the images.
        rank: the rank k.
        cut: float64 (n, h, w, 3), grey levels of x_k, unclipped.
        models: names of the networks.
        classes: int64 (models, 2, n, 5), the top classes at rank k and at full rank, the most probable one first.
        probabilities: float32, shaped as ``classes``, softmax probabilities.
    """

    images: Images
    rank: int
    cut: np.ndarray
    models: list[str]
    classes: np.ndarray
    probabilities: np.ndarray

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields a table row per network, image, rank and place among the top classes."""
        names = self.images.classes
        for m, model in enumerate(self.models):
            for i, key in enumerate(self.images.keys):
                for place, rank in enumerate((self.rank, min(self.images.size))):
                    for top in range(self.classes.shape[-1]):
                        yield {
                            "model": model,
                            "key": key,
                            "label": names[self.images.labels[i]],
                            "rank": rank,
                            "place": top + 1,
                            "class": names[self.classes[m, place, i, top]],
                            "probability": float(self.probabilities[m, place, i, top]),
                        }


def examples(networks: Sequence[Network], images: Images, rank: int) -> Examples:
    """Classifies images at rank k and at full rank. Images are float, neither rounded nor clipped."""
    pixels = np.ascontiguousarray(images.pixels.transpose(0, 3, 1, 2))
    cut, full = rank_images(pixels, (rank, min(images.size)))
    top = min(TOP, len(images.classes))
    classes = np.empty((len(networks), 2, len(images), top), np.int64)
    probabilities = np.empty(classes.shape, np.float32)
    for m, network in enumerate(networks):
        for place, distorted in enumerate((cut, full)):
            for i in range(len(images)):
                x = torch.from_numpy((distorted[i : i + 1] / 255).astype(np.float32))
                best = classify(network, x).softmax(1).topk(top)
                classes[m, place, i], probabilities[m, place, i] = best.indices[0], best.values[0]
    names = [network.name for network in networks]
    return Examples(images, rank, cut.transpose(0, 2, 3, 1), names, classes, probabilities)
