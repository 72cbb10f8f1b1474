"""Algorithm 1 of the paper for several networks and families of distortions at once: predictions at every rank."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.study.distortion.match import distort
from pipeline.study.inputs import Images
from pipeline.study.networks.load import Network

# Images cut at a time, which is also the batch of a forward pass: small ResNets are fastest near it on CPU cores.
BATCH = 64


@dataclass(frozen=True)
class Spectrum:
    """What every network said of every image at every rank.

    Attributes:
        images: the images.
        models: names of the networks.
        families: ``rank`` first, then the controls.
        predictions: int16 (models, families, ranks, n), class of image i at the distortion of rank k = 0..min(h, w).
        error: float32 (families, ranks, n), mean squared error in squared grey levels.
        matched: bool (families, ranks, n), see ``families_match.Distorted``.
    """

    images: Images
    models: list[str]
    families: tuple[str, ...]
    predictions: np.ndarray
    error: np.ndarray
    matched: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """bool, as ``predictions``: the prediction is the label (figures 6 and 7)."""
        right: np.ndarray = self.predictions == self.images.labels
        return right

    @property
    def agrees(self) -> np.ndarray:
        """bool, as ``predictions``: the prediction is that of the same network at full rank (Algorithm 1)."""
        agrees: np.ndarray = self.predictions == self.predictions[:, :1, -1:]
        return agrees


def run(
    networks: Sequence[Network],
    images: Images,
    families: tuple[str, ...] = ("rank",),
    as_stored: bool = False,
    batch: int = BATCH,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Spectrum:
    """Predict every image at every rank, and at every control's equal distortion.

    Args:
        as_stored: rounded and clipped as in PNG files; else float, neither rounded nor clipped.
        batch: images at a time.
        progress: called with images done and in all.
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
        for one in distort(pixels, images.keys[rows], families, as_stored):
            place = families.index(one.family), one.rank, rows
            error[place], matched[place] = one.error, one.matched
            x = torch.from_numpy((one.images / 255).astype(np.float32))
            for number, network in enumerate(networks):
                predictions[number, *place] = predict(network, x)
        progress(rows.stop, len(images))
    return Spectrum(images, [network.name for network in networks], families, predictions, error, matched)


def predict(network: Network, x: torch.Tensor) -> np.ndarray:
    """int64 (n,): the top class of float32 (n, 3, h, w) in units of the image in [0, 1]."""
    with torch.inference_mode():
        moved = x.to(network.mean.device, memory_format=torch.channels_last)
        top: np.ndarray = network(moved).argmax(1).cpu().numpy()
    return top
