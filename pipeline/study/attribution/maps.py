"""Attribution maps of one network for all images of a study, as arrays and table rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.study.attribution.gradients import rig, vanilla
from pipeline.study.images import Images
from pipeline.study.networks.network import Network


@dataclass(frozen=True)
class Maps:
    """Rank Integrated Gradients and plain gradients of one network.

    Attributes:
        name: name of the network.
        target: int64 (n,), top class at full rank.
        probability: float32 (n,), softmax probability of that class.
        rig, vanilla: float32 (n, h, w).
    """

    name: str
    target: np.ndarray
    probability: np.ndarray
    rig: np.ndarray
    vanilla: np.ndarray

    @property
    def correlation(self) -> np.ndarray:
        """Pearson's correlation of both maps over the pixels of each image, float64 (n,); NaN if a map is constant."""
        pairs = zip(self.rig, self.vanilla, strict=True)
        with np.errstate(invalid="ignore"):
            return np.array([np.corrcoef(first.ravel(), second.ravel())[0, 1] for first, second in pairs])

    def rows(self, images: Images) -> Iterator[dict[str, Any]]:
        """Yields a table row per image."""
        for i, (key, correlation) in enumerate(zip(images.keys, self.correlation.tolist(), strict=True)):
            row = {"model": self.name, "key": key, "label": images.classes[images.labels[i]]}
            row |= {"target": int(self.target[i]), "probability": float(self.probability[i])}
            for name, array in (("rig", self.rig[i]), ("vanilla", self.vanilla[i])):
                row |= {f"{name} sum": float(array.sum()), f"{name} max": float(array.max())}
            yield row | {"correlation": correlation}

    def summary(self) -> str:
        """Returns one line for people: the mean correlation, without images whose maps are constant."""
        correlations = self.correlation[~np.isnan(self.correlation)]
        average = f"{correlations.mean():.2f} on average" if len(correlations) else "none"
        constant = len(self.target) - len(correlations)
        excluded = f", {constant} constant maps excluded" if constant else ""
        return f"{self.name}: {len(self.target)} images, correlation of RIG with plain gradients {average}{excluded}"


def compute_maps(network: Network, images: Images, reduce: str, output: str, batch: int = 128) -> Maps:
    """Computes both maps of all images for the network's top classes. ``reduce`` and ``output`` are those of ``rig``."""
    x = torch.from_numpy(images.pixels.transpose(0, 3, 1, 2).copy()).to(network.device, torch.float32) / 255
    with torch.no_grad():
        probability, target = network(x).softmax(1).max(1)
    maps = [method(network, x, target, reduce, output, batch).cpu().numpy() for method in (rig, vanilla)]
    return Maps(network.name, target.cpu().numpy(), probability.cpu().numpy(), *maps)


def maps_file(name: str) -> str:
    """Returns the file name for the maps of a network. Two names may have the same file name."""
    return f"maps-{''.join(c if c.isalnum() or c in '-_.' else '_' for c in name)}.npz"
