"""Training batches from the shards of an output: images are read when a batch needs them, by ``RankDataset``."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.data import RankDataset, RankView
from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.study.training.batches import network_input

_MOMENTS = 2000  # images from which mean and standard deviation are computed


@dataclass(frozen=True)
class Stream:
    """How a process reads its share of the images.

    Attributes:
        rank, processes: number of this process, from 0, and number of processes.
        workers: DataLoader workers of this process; 0 reads in the process itself.
    """

    rank: int = 0
    processes: int = 1
    workers: int = 0


@dataclass(frozen=True)
class Streamed:
    """Labelled images of one size in an output, with the interface of ``Samples``. Batches are this process's share.

    Attributes:
        source: reads the images.
        rows: int64 (n,), the selected positions in ``source``.
        digest: identifies the stored images and the selection.
        size: (height, width) in pixels.
        stream: how to read them.
        zero: grey level that becomes 0.0 (see ``Samples``).
        device: torch device of the batches.
    """

    source: RankDataset | RankView
    rows: np.ndarray
    digest: str
    size: tuple[int, int]
    stream: Stream
    zero: int = 0
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: str) -> "Streamed":
        """Returns the images with batches on a device."""
        return replace(self, device=device)

    def signed(self, zero: int) -> "Streamed":
        """Returns the images with another grey level for 0.0."""
        return replace(self, zero=zero)

    def sample(self) -> Tensor:
        """Returns the pixels of up to 2,000 images at even distances, uint8 (n, h, w, 3)."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(len(self), _MOMENTS)).astype(np.int64))
        return torch.from_numpy(np.stack([_pixels(self.source, at) for at in self.rows[chosen]]))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields this process's share of the images in order, as network input and labels."""
        rows = self.rows[self.stream.rank :: self.stream.processes]
        yield from self.load(_Stored(self.source), [rows[at : at + size] for at in range(0, len(rows), size)])

    def augmented(self, padding: int, fill: int) -> "StreamedCrops":
        """Returns the training batches (see ``Augmented``)."""
        return StreamedCrops(self, padding, fill)

    def load(self, images: "Dataset[Any]", batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields batches of the positions in ``batches``, as network input and labels.

        Raises:
            PipelineError: an image cannot be read, or a worker ended.
        """
        loader = DataLoader(images, batch_sampler=batches, num_workers=self.stream.workers)  # type: ignore[arg-type]
        iterator = iter(loader)
        while True:
            try:
                pixels, labels = next(iterator)
            except StopIteration:
                return
            except PipelineError as error:  # a worker's has its traceback in front
                raise PipelineError(str(error).strip().splitlines()[-1].removeprefix(_PREFIX)) from None
            except RuntimeError as error:
                raise PipelineError(f"a worker of the DataLoader ended: {one_line(error)[:200]}") from None
            yield network_input(pixels.to(self.device), self.zero), labels.to(self.device)


_PREFIX = f"{PipelineError.__module__}.{PipelineError.__qualname__}: "


def streamed(
    source: RankDataset | RankView, rows: np.ndarray, shards: RankDataset, stream: Stream, size: tuple[int, int] | None
) -> Streamed:
    """Returns the images of a source at some positions.

    Args:
        shards: the stored variant that ``source`` reads; its indexes identify the images.
        size: (height, width) in pixels; None if the images differ in size.

    Raises:
        UsageError: the images differ in size, or are no PNG files.
    """
    if size is None:
        raise UsageError(f"{shards.root}: the images differ in size: build them with --resize and --crop")
    if shards.part.form != "png":
        raise UsageError(f"{shards.root}: {shards.variant} holds floats: train on the variant without -exact")
    digest = hashlib.sha256(rows.tobytes())
    digest.update(np.array(source.targets, np.int64).tobytes())
    for shard in shards.part.shards:
        digest.update(shard.index.read_bytes())
    return Streamed(source, rows, digest.hexdigest()[:12], size, stream)


@dataclass(frozen=True)
class StreamedCrops:
    """Batches of randomly cropped and flipped images, with labels: this process's share of each step.

    Attributes:
        samples: the training images.
        padding: pixels added on each side before the crop.
        fill: grey level of the padding.
    """

    samples: Streamed
    padding: int
    fill: int

    def steps(self, size: int) -> int:
        """Returns the number of steps in an epoch, which is the same in every process."""
        return -(-len(self.samples) // size)

    def epoch(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields this process's part of every step. Together, the processes yield every sample exactly once.

        Args:
            size: the most images per step, of all processes together. Steps differ by at most one image.
            seed: seed of order, crops and flips, which do not depend on the number of processes.
        """
        images = _Cropped(self.samples.source, self.padding, self.fill, seed)
        yield from self.samples.load(images, self.shares(size, seed))

    def shares(self, size: int, seed: int) -> list[np.ndarray]:
        """Returns the positions of this process's images in every step of an epoch."""
        order = np.random.default_rng(seed).permutation(self.samples.rows)
        steps, stream = np.array_split(order, self.steps(size)), self.samples.stream
        return [np.array_split(step, stream.processes)[stream.rank] for step in steps]


class _Stored(Dataset[Any]):
    """The images as stored, uint8 (h, w, 3), and labels."""

    def __init__(self, source: RankDataset | RankView) -> None:
        self.source = source

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return torch.from_numpy(_pixels(self.source, position)), self.source.targets[position]


class _Cropped(_Stored):
    """The same, cropped and flipped at random. The crop of an image depends on the seed and its position alone."""

    def __init__(self, source: RankDataset | RankView, padding: int, fill: int, seed: int) -> None:
        super().__init__(source)
        self.padding, self.fill, self.seed = padding, fill, seed

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        pixels, label = super().__getitem__(position)
        random, (height, width, _) = np.random.default_rng((self.seed, int(position))), pixels.shape
        edge = (self.padding, self.padding)
        padded = np.pad(pixels.numpy(), (edge, edge, (0, 0)), constant_values=self.fill)
        y, x = random.integers(0, 2 * self.padding + 1, 2)
        crop = padded[y : y + height, x : x + width]
        return torch.from_numpy(np.ascontiguousarray(crop[:, ::-1] if random.random() < 0.5 else crop)), label


def _pixels(source: RankDataset | RankView, position: int) -> np.ndarray:
    """Returns an image as uint8 (h, w, 3), an array of its own."""
    return np.array(source[position][0])
