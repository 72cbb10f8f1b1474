"""Computes rank spectra: Algorithm 1 of the paper for several networks and families of distortions at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.study.distortion.matching import distort
from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.progress import Progress, silent

# Images that are cut and classified at a time. Small ResNets are fastest near this batch size on CPU cores.
BATCH = 64


@dataclass(frozen=True)
class Spectrum:
    """The prediction of every network for every image at every rank.

    Attributes:
        images: the images.
        models: names of the networks.
        families: ``rank`` first, then the controls.
        predictions: int16 (models, families, ranks, n), class of image i at the distortion of rank k = 0..min(h, w).
        error: float32 (families, ranks, n), mean squared error in squared grey levels.
        matched: bool (families, ranks, n), see ``matching.Distorted``.
    """

    images: Images
    models: list[str]
    families: tuple[str, ...]
    predictions: np.ndarray
    error: np.ndarray
    matched: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """bool, shaped as ``predictions``: whether the prediction is the label (figures 6 and 7)."""
        right: np.ndarray = self.predictions == self.images.labels
        return right

    @property
    def agrees(self) -> np.ndarray:
        """bool, shaped as ``predictions``: whether it is the same network's prediction at full rank (Algorithm 1)."""
        agrees: np.ndarray = self.predictions == self.predictions[:, :1, -1:]
        return agrees


def run(
    networks: Sequence[Network],
    images: Images,
    families: tuple[str, ...] = ("rank",),
    as_stored: bool = False,
    batch: int = BATCH,
    progress: Progress = silent,
) -> Spectrum:
    """Classifies every image at every rank, and at the same error by every control.

    Args:
        as_stored: round and clip images as PNG files store them; by default they are float, neither rounded nor clipped.
        batch: images at a time.
        progress: called with the number of finished images and of all images.
    """
    ranks = min(images.size) + 1
    predictions = np.empty((len(networks), len(families), ranks, len(images)), np.int16)
    error = np.empty((len(families), ranks, len(images)), np.float32)
    matched = np.empty(error.shape, bool)
    for network in networks:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for start in range(0, len(images), batch):
        rows = slice(start, min(start + batch, len(images)))
        pixels = np.ascontiguousarray(images.pixels[rows].transpose(0, 3, 1, 2))
        for distorted in distort(pixels, images.keys[rows], families, as_stored):
            place = families.index(distorted.family), distorted.rank, rows
            error[place], matched[place] = distorted.error, distorted.matched
            x = torch.from_numpy((distorted.images / 255).astype(np.float32))
            for number, network in enumerate(networks):
                predictions[number, *place] = predict(network, x)
        progress(rows.stop, len(images))
    return Spectrum(images, [network.name for network in networks], families, predictions, error, matched)


def predict(network: Network, x: torch.Tensor) -> np.ndarray:
    """Returns the top class, int64 (n,), of float32 (n, 3, h, w) in units of the image in [0, 1]."""
    with torch.inference_mode():
        on_device = x.to(network.device, memory_format=torch.channels_last)
        top: np.ndarray = network(on_device).argmax(1).cpu().numpy()
    return top
