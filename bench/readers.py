"""Measures readers of 32-pixel shards in turn on the same images: ours, webdataset's, and ImageFolder's of PNG files.

Each yields the same items: an RGB PIL image or a float tensor (3, 32, 32) in [0, 1], and a label.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader

from bench import inputs
from pipeline.data import RankDataset, export_folder, rank_shards, to_tensor
from pipeline.execution import run
from pipeline.planning.job import Job

IMAGES = 10_000
BATCH = 256
WEBDATASET = "webdataset"


class Tree:
    """A map-style dataset that does what torchvision's ImageFolder does: open the file, decode, convert, transform."""

    def __init__(self, folder: Path, transform: Callable[[Any], Any] | None = None) -> None:
        classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        self.samples = [(str(path), i) for i, name in enumerate(classes) for path in sorted((folder / name).iterdir())]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> tuple[Any, int]:
        path, label = self.samples[position]
        with open(path, "rb") as file:
            image = Image.open(file).convert("RGB")
        return (self.transform(image) if self.transform else image), label


def measure(scratch: Path, rounds: int, scale: int = 1) -> None:
    """Prints images per second and core of every reader, and the ratio to webdataset in the same round.

    Args:
        scale: a divisor of the number of images.
    """
    images = IMAGES // scale
    out, tree = _output(scratch, images), scratch / "tree"
    export_folder(RankDataset(out), tree)
    order = np.random.default_rng(0).permutation(images).tolist()
    kinds = {"PIL images": _pil(out, tree, order)}
    kinds |= {f"tensor batches, {n} workers": _batches(out, tree, n) for n in (0, 2)}
    for (kind, readers), cores in zip(kinds.items(), (1, 1, 2), strict=True):
        rates: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(rounds):
            for name, read in readers.items():
                start = time.perf_counter()
                count = sum(read())
                rates[name].append(count / (time.perf_counter() - start) / cores)
                assert count == images, f"{name} gave {count:,} of {images:,} images"
        print(f"\n{kind}: {images:,} images of 32 x 32 ({rounds} rounds in turn, medians)")
        print(f"{'':28}{'images/s a core':>16}{'ratio':>8}")
        for name, measured in rates.items():
            ratio = statistics.median(a / b for a, b in zip(measured, rates[WEBDATASET], strict=True))
            print(f"{name:28}{statistics.median(measured):16,.0f}{ratio:8.2f}")


Reader = Callable[[], Iterable[int]]  # yields the number of images of each item or batch


def _output(scratch: Path, images: int) -> Path:
    options = {"dataset": "cifar10", "data-dir": str(inputs.cifar_shaped(scratch / "cifar")), "limit": images}
    options |= {"ranks": "5", "components": "low", "splits": "train", "samples-per-shard": images // 8, "workers": 0}
    run.build(Job.parse(options | {"out": str(scratch / "readers"), "allow-unverified": True, "quiet": True}))
    return scratch / "readers"


def _pil(out: Path, tree: Path, order: list[int]) -> dict[str, Reader]:
    """Returns readers of PIL images, in one process without a loader."""
    ours, files, shards = RankDataset(out), Tree(tree / "train"), rank_shards(out)
    return {
        WEBDATASET: lambda: (1 for _ in shards.webdataset().decode("pil").to_tuple("png", "cls")),
        "RankDataset, random order": lambda: (len(ours[i]) // 2 for i in order),
        "PNG files, random order": lambda: (len(files[i]) // 2 for i in order),
    }


def _batches(out: Path, tree: Path, workers: int) -> dict[str, Reader]:
    """Returns readers of batches through torch's DataLoader. webdataset reads in order; shuffling would cost it more."""

    def map_style(data: Any) -> Reader:
        return lambda: (len(labels) for _, labels in DataLoader(data, BATCH, shuffle=True, num_workers=workers))

    def streamed() -> Iterable[int]:
        data = rank_shards(out).webdataset().decode("torchrgb").to_tuple("png", "cls").batched(BATCH)
        return (len(labels) for _, labels in DataLoader(data, batch_size=None, num_workers=workers))

    return {
        WEBDATASET: streamed,
        "RankDataset, random order": map_style(RankDataset(out, transform=to_tensor)),
        "PNG files, random order": map_style(Tree(tree / "train", to_tensor)),
    }
