"""Computes rank spectra: Algorithm 1 of the paper for several networks and families of distortions at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.study.distortion.matching import distort
from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.progress import Progress, silent
from pipeline.study.ranks import Ranks, select_ranks
from pipeline.study.results.parts_file import Arrays, PartsFile
from pipeline.study.threads import Ticks, in_threads

# Images that are cut and classified at a time. On CPU cores, small ResNets are fastest near 64 images of 32 pixels, and
# ImageNet's networks near 4 images of 224 pixels: the values between two layers then stay in the processor's cache.
BATCH = 64
_PIXELS = 4 * 224 * 224
TOP5_CLASSES = 20  # number of classes from which top-5 accuracy is measured


@dataclass(frozen=True)
class Plan:
    """What is measured of every image.

    Attributes:
        families: ``rank`` first, then the controls.
        ranks: ascending; the last is the image itself.
        as_stored: round and clip images as PNG files store them; else they are float, neither rounded nor clipped.
        batch: images at a time.
    """

    families: tuple[str, ...]
    ranks: tuple[int, ...]
    as_stored: bool = False
    batch: int = BATCH

    @classmethod
    def of(
        cls,
        size: tuple[int, int],
        families: tuple[str, ...] = ("rank",),
        ranks: Ranks | None = None,
        as_stored: bool = False,
        batch: int | None = None,
    ) -> "Plan":
        """Returns a plan for images of a size, (height, width) in pixels, with defaults for ranks and batch of None."""
        fitting = max(1, min(BATCH, _PIXELS // (size[0] * size[1])))
        return cls(families, select_ranks(ranks, min(size)), as_stored, batch or fitting)

    def distorted(self, images: int) -> int:
        """Returns the number of distorted images that every network classifies."""
        return images * len(self.families) * len(self.ranks)

    def batches(self, images: int) -> list[range]:
        """Returns the images of each batch."""
        return [range(start, min(start + self.batch, images)) for start in range(0, images, self.batch)]


@dataclass(frozen=True)
class Spectrum:
    """The prediction of every network for every image at every rank.

    Attributes:
        images: the images.
        models: names of the networks.
        families: ``rank`` first, then the controls.
        ranks: ascending; the last is min(h, w), the image itself.
        predictions: int16 (models, families, ranks, n), class of image i at the distortion of each rank.
        error: float32 (families, ranks, n), mean squared error in squared grey levels.
        matched: bool (families, ranks, n), see ``matching.Distorted``.
        top5: bool, shaped as ``predictions``, whether the label is among the five top classes; None for few classes.
    """

    images: Images
    models: list[str]
    families: tuple[str, ...]
    ranks: tuple[int, ...]
    predictions: np.ndarray
    error: np.ndarray
    matched: np.ndarray
    top5: np.ndarray | None = None

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
    plan: Plan | None = None,
    parts: PartsFile | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Spectrum:
    """Classifies every image at every rank, and at the same error by every control.

    Args:
        plan: None for the default ranks.
        parts: receives the results of each batch. Batches that it holds are not computed again.
        threads: number of batches at a time, each on one core. It changes no result.
        progress: called with the number of finished distorted images and of all of them.
    """
    plan = plan or Plan.of(images.size)
    for network in networks:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    done = dict(parts.parts) if parts else {}
    count, finished = plan.distorted(len(images)), plan.distorted(_images_in(done))

    def measure(own: Sequence[Network], rows: range, ticks: Ticks) -> Arrays:
        return _measure(own, images.at(np.array(rows)), plan, ticks)

    missing = [rows for rows in plan.batches(len(images)) if str(rows.start) not in done]
    for rows, arrays in in_threads(measure, networks, missing, threads, lambda n: progress(finished + n, count)):
        done[str(rows.start)] = arrays
        if parts:
            parts.append(str(rows.start), arrays)
    progress(count, count)
    ordered = [done[str(rows.start)] for rows in plan.batches(len(images))]
    joined = {name: np.concatenate([part[name] for part in ordered], axis=-1) for name in ordered[0]}
    return Spectrum(images, [network.name for network in networks], plan.families, plan.ranks, **joined)


def _images_in(parts: dict[str, Arrays]) -> int:
    return sum(arrays["error"].shape[-1] for arrays in parts.values())


def distorted_in(parts: PartsFile, plan: Plan) -> int:
    """Returns the number of distorted images whose predictions are in a file."""
    return plan.distorted(_images_in(parts.parts))


def _measure(networks: Sequence[Network], images: Images, plan: Plan, ticks: Ticks) -> Arrays:
    """Returns the results of one batch: arrays of ``Spectrum`` by name."""
    error = np.empty((len(plan.families), len(plan.ranks), len(images)), np.float32)
    arrays = {"error": error, "matched": np.empty(error.shape, bool)}
    arrays["predictions"] = np.empty((len(networks), *error.shape), np.int16)
    with_top5 = len(images.classes) >= TOP5_CLASSES
    if with_top5:
        arrays["top5"] = np.empty((len(networks), *error.shape), bool)
    pixels = np.ascontiguousarray(images.pixels.transpose(0, 3, 1, 2))
    for distorted in distort(pixels, images.keys, plan.families, plan.as_stored, plan.ranks):
        place = plan.families.index(distorted.family), plan.ranks.index(distorted.rank)
        error[place], arrays["matched"][place] = distorted.error, distorted.matched
        x = torch.from_numpy((distorted.images / 255).astype(np.float32))
        for number, network in enumerate(networks):
            logits = classify(network, x)
            arrays["predictions"][number, *place] = logits.argmax(1).numpy()
            if with_top5:
                in_top5 = logits.topk(5).indices == torch.from_numpy(images.labels)[:, None]
                arrays["top5"][number, *place] = in_top5.any(1).numpy()
        ticks(len(images))
    return arrays


def classify(network: Network, x: torch.Tensor) -> torch.Tensor:
    """Returns logits, float32 (n, classes) on the CPU, of float32 (n, 3, h, w) in units of the image in [0, 1]."""
    with torch.inference_mode():
        logits: torch.Tensor = network(x.to(network.device, memory_format=torch.channels_last)).cpu()
    return logits


def predict(network: Network, x: torch.Tensor) -> np.ndarray:
    """Returns the top class, int64 (n,), of float32 (n, 3, h, w) in units of the image in [0, 1]."""
    top: np.ndarray = classify(network, x).argmax(1).numpy()
    return top


def few_ranks(plan: Plan, count: int) -> Plan:
    """Returns a plan with ``count`` of the ranks and the image itself, to measure what one rank costs."""
    others = plan.ranks[:-1]
    return replace(plan, ranks=(*others[:: max(1, len(others) // count)][:count], plan.ranks[-1]))
