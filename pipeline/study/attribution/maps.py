"""Attribution maps of networks for all images of a study, as arrays and table rows."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.study.attribution.gradients import rig, vanilla
from pipeline.study.attribution.integrated import integrated_gradients
from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.progress import Progress, silent
from pipeline.study.results.parts_file import Arrays, PartsFile
from pipeline.study.threads import Ticks, in_threads

BATCH = 128  # gradients at a time of images of 32 pixels
_PIXELS = 4 * 224 * 224  # at most in a batch


@dataclass(frozen=True)
class Method:
    """How the maps are computed.

    Attributes:
        reduce, output: see ``rig``.
        batch: gradients at a time.
        steps: of Integrated Gradients; 0 for none.
    """

    reduce: str
    output: str
    batch: int
    steps: int = 0

    def gradients(self, images: Images) -> int:
        """Returns the number of gradients of one network for one image."""
        return min(images.size) + self.steps


def fitting_batch(size: tuple[int, int]) -> int:
    """Returns how many gradients of images of a size, (height, width) in pixels, are fastest at a time on a core."""
    return max(1, min(BATCH, _PIXELS // (size[0] * size[1])))


@dataclass(frozen=True)
class Maps:
    """Rank Integrated Gradients and plain gradients of one network.

    Attributes:
        name: name of the network.
        target: int64 (n,), top class at full rank.
        probability: float32 (n,), softmax probability of that class.
        rig, vanilla: float32 (n, h, w).
        integrated: Integrated Gradients, float32 (n, h, w); None if they were not requested.
    """

    name: str
    target: np.ndarray
    probability: np.ndarray
    rig: np.ndarray
    vanilla: np.ndarray
    integrated: np.ndarray | None = None

    @property
    def methods(self) -> dict[str, np.ndarray]:
        """The maps by their names in figures, RIG last."""
        integrated = {} if self.integrated is None else {"Integrated Gradients": self.integrated}
        return {"gradients": self.vanilla, **integrated, "RIG": self.rig}

    @property
    def correlation(self) -> np.ndarray:
        """Correlation of RIG with plain gradients, see ``_correlation``."""
        return _correlation(self.rig, self.vanilla)

    def rows(self, images: Images) -> Iterator[dict[str, Any]]:
        """Yields a table row per image."""
        for i, (key, correlation) in enumerate(zip(images.keys, self.correlation.tolist(), strict=True)):
            row = {"model": self.name, "key": key, "label": images.classes[images.labels[i]]}
            row |= {"target": int(self.target[i]), "probability": float(self.probability[i])}
            for name, array in (("rig", self.rig[i]), ("vanilla", self.vanilla[i])):
                row |= {f"{name} sum": float(array.sum()), f"{name} max": float(array.max())}
            row |= {"correlation": correlation}
            if self.integrated is not None:
                integrated = self.integrated[i : i + 1]
                row |= {"integrated sum": float(integrated.sum()), "integrated max": float(integrated.max())}
                row["correlation with integrated"] = float(_correlation(self.rig[i : i + 1], integrated)[0])
            yield row

    def summary(self) -> str:
        """Returns one line for people: the mean correlation, without images whose maps are constant."""
        correlations = self.correlation[~np.isnan(self.correlation)]
        average = f"{correlations.mean():.2f} on average" if len(correlations) else "none"
        constant = len(self.target) - len(correlations)
        excluded = f", {constant} constant maps excluded" if constant else ""
        return f"{self.name}: {len(self.target)} images, correlation of RIG with plain gradients {average}{excluded}"


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns Pearson's correlation of two maps over the pixels of each image, float64 (n,); NaN if a map is constant."""
    with np.errstate(invalid="ignore"):
        return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first, second, strict=True)])


def compute_maps(
    networks: Sequence[Network],
    images: Images,
    method: Method,
    parts: PartsFile | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> list[Maps]:
    """Computes the maps of all images for the top classes of each network.

    Args:
        parts: receives the maps of each network and image. Those that it holds are not computed again.
        threads: number of images at a time, each on one core.
        progress: called with the number of finished gradients and of all of them.
    """
    for network in networks:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    done = dict(parts.parts) if parts else {}
    units = [(number, i) for number in range(len(networks)) for i in range(len(images))]
    count, finished = method.gradients(images) * len(units), method.gradients(images) * len(done)

    def measure(own: Sequence[Network], unit: tuple[int, int], ticks: Ticks) -> Arrays:
        return _maps_of(own[unit[0]], images.pixels[unit[1]], method, ticks)

    missing = [unit for unit in units if _part(unit) not in done]
    for unit, arrays in in_threads(measure, networks, missing, threads, lambda n: progress(finished + n, count)):
        done[_part(unit)] = arrays
        if parts:
            parts.append(_part(unit), arrays)
    progress(count, count)
    maps = []
    for number, network in enumerate(networks):
        own = [done[_part((number, i))] for i in range(len(images))]
        maps.append(Maps(network.name, **{name: np.concatenate([part[name] for part in own]) for name in own[0]}))
    return maps


def _part(unit: tuple[int, int]) -> str:
    return "network {} image {}".format(*unit)


def _maps_of(network: Network, pixels: np.ndarray, method: Method, ticks: Ticks) -> Arrays:
    """Returns the maps of one image, uint8 (h, w, 3): arrays of ``Maps`` by name, with n = 1."""
    x = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()).to(network.device, torch.float32) / 255
    with torch.no_grad():
        probability, target = network(x).softmax(1).max(1)

    def counted(batch: Tensor) -> Tensor:
        ticks(len(batch))
        logits: Tensor = network(batch)
        return logits

    arguments = (counted, x, target, method.reduce, method.output, method.batch)
    maps = {"target": target, "probability": probability, "rig": rig(*arguments), "vanilla": vanilla(*arguments)}
    if method.steps:
        maps["integrated"] = integrated_gradients(*arguments, steps=method.steps)
    return {name: tensor.detach().cpu().numpy() for name, tensor in maps.items()}


def seconds_per_gradient(networks: Sequence[Network], images: Images, method: Method, threads: int) -> float:
    """Returns the mean time of a gradient over the networks, measured on a batch of the first image in each thread."""

    def measure(own: Sequence[Network], _: int, ticks: Ticks) -> None:
        x = torch.from_numpy(images.pixels[:1].transpose(0, 3, 1, 2).copy()).float() / 255
        for network in own:
            copies = x.to(network.device).expand(method.batch, -1, -1, -1).contiguous()
            vanilla(network, copies, 0, method.reduce, method.output, method.batch)

    for network in networks:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for _ in in_threads(measure, networks, range(threads), threads):
        pass  # the first gradients of a network are slower
    began = time.perf_counter()
    for _ in in_threads(measure, networks, range(2 * threads), threads):
        pass
    return (time.perf_counter() - began) / (2 * threads * method.batch * len(networks))


def maps_file(name: str) -> str:
    """Returns the file name for the maps of a network. Two names may have the same file name."""
    return f"maps-{''.join(c if c.isalnum() or c in '-_.' else '_' for c in name)}.npz"
