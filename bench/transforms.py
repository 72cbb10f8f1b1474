"""Measures ``RankTruncate`` on a batch of 8 x 3 x 224 x 224, compared with ``torch.linalg.svd`` of the same floats."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bench import inputs
from pipeline.data import RankDataset
from pipeline.execution import run
from pipeline.planning.job import Job
from pipeline.transforms import RankTruncate

IMAGES, RANK = 8, 50


def measure(scratch: Path, rounds: int) -> None:
    """Prints milliseconds per batch of each way, and how many times faster it is than torch's SVD."""
    options = {"dataset": "folder", "data-dir": str(inputs.photograph_folder(scratch / "folder", 400)), "limit": IMAGES}
    options |= {"ranks": RANK, "components": "full", "resize": 256, "crop": 224, "workers": 0}
    run.build(Job.parse(options | {"out": str(scratch / "transforms"), "quiet": True}))
    grey = torch.from_numpy(RankDataset(scratch / "transforms", "full").data.transpose(0, 3, 1, 2).copy())
    floats, transform = grey.float() / 255, RankTruncate(RANK)
    ways: dict[str, Callable[[], Tensor]] = {
        "torch.linalg.svd, float32": lambda: _svd(floats),
        "RankTruncate, float32": lambda: transform(floats),
        "RankTruncate, uint8": lambda: transform(grey),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # compiles
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(1000 * (time.perf_counter() - start))
    print(f"\nRank {RANK} of {tuple(grey.shape)} ({rounds} rounds in turn, medians, {torch.get_num_threads()} threads)")
    for name, measured in times.items():
        ratio = statistics.median(a / b for a, b in zip(times["torch.linalg.svd, float32"], measured, strict=True))
        print(f"{name:28}{statistics.median(measured):10,.0f} ms{ratio:8.2f}")


def _svd(x: Tensor) -> Tensor:
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    low: Tensor = (u[..., :RANK] * s[..., None, :RANK]) @ v[..., :RANK, :]
    return low
