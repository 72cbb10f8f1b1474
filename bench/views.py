"""Measures ``RankView`` at 224 x 224: any rank from the factors, compared with an SVD of the full image."""

import statistics
import time
from pathlib import Path

from bench import inputs
from pipeline.data import RankView
from pipeline.execution import run
from pipeline.planning.job import Job

IMAGES = 64


def measure(scratch: Path, rounds: int, scale: int = 1) -> None:
    """Prints images per second of one process both ways, and their ratio. ``scale`` divides the number of images."""
    images = max(4, IMAGES // scale)
    options = {"dataset": "folder", "data-dir": str(inputs.photograph_folder(scratch / "folder", 400)), "limit": images}
    options |= {"ranks": "100", "components": "full", "resize": 256, "crop": 224, "factors": "float32", "workers": 0}
    run.build(Job.parse(options | {"out": str(scratch / "views"), "quiet": True}))
    ways = {name: RankView(scratch / "views", 50, form="npy", factors=name == "factors") for name in ("SVD", "factors")}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, view in ways.items():
            start = time.perf_counter()
            for i in range(images):
                view[i]
            rates[name].append(images / (time.perf_counter() - start))
    print(
        f"\nRankView, rank 50 of {images} images of 224 x 224, float32, random access ({rounds} rounds in turn, medians)"
    )
    for name, measured in rates.items():
        ratio = statistics.median(a / b for a, b in zip(measured, rates["SVD"], strict=True))
        print(f"{name:28}{statistics.median(measured):10,.0f} images/s{ratio:8.2f}")
