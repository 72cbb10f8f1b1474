"""Outputs that trainings read."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.build import main

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def build(*arguments: object) -> None:
    """``python -m pipeline.build`` in this process."""
    assert main([*map(str, arguments), "--workers", "0", "--quiet"]) == 0


def sample_output(folder: Path, ranks: str = "2", components: str = "low,high,full") -> Path:
    """96 training images and 96 test images of 32 x 32, cut from real photographs."""
    job = ("--dataset", "sample", "--limit", 96, "--samples-per-shard", 64)
    build(*job, "--ranks", ranks, "--components", components, "--out", folder)
    return folder


def lossless_output(shared: Path, folder: Path, ranks: str) -> Path:
    """The 8,068 training and 1,017 test images of CIFAR-10 whose official pixels are at hand; high-rank-only and full."""
    for file in sorted((shared / "data" / "cifar10").glob("*.bin")):
        split = "test" if file.name.startswith("test") else "train"
        for number, record in enumerate(np.fromfile(file, np.uint8).reshape(-1, 3073)):
            place = folder / "source" / split / CLASSES[record[0]]
            place.mkdir(parents=True, exist_ok=True)
            pixels = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
            Image.fromarray(pixels).save(place / f"{file.name.split('.')[0]}-{number:04d}.png", compress_level=0)
    job = ("--dataset", "folder", "--data-dir", folder / "source", "--name", "lossless", "--ranks", ranks)
    build(*job, "--components", "high,full", "--out", folder / "out")
    counts = json.loads((folder / "out" / "manifest.json").read_text())["splits"]
    assert {split: counts[split]["samples"] for split in counts} == {"train": 8068, "test": 1017}
    return folder / "out"
