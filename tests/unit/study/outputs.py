"""Outputs for trainings."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.build import main

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def build(*arguments: object) -> None:
    """Runs ``python -m pipeline.build`` in this process."""
    assert main([*map(str, arguments), "--workers", "0", "--quiet"]) == 0


def sample_output(folder: Path, ranks: str = "2", components: str = "low,high,full") -> Path:
    """Builds 96 training images and 96 test images of 32 x 32, cut from photographs."""
    job = ("--dataset", "sample", "--limit", 96, "--samples-per-shard", 64)
    build(*job, "--ranks", ranks, "--components", components, "--out", folder)
    return folder


def lossless_output(files: Sequence[Path], folder: Path) -> Path:
    """Builds variant full of the lossless images of CIFAR-10 in some batch files."""
    counts: dict[str, int] = {}
    for file in files:
        split = "test" if file.name.startswith("test") else "train"
        for number, record in enumerate(np.fromfile(file, np.uint8).reshape(-1, 3073)):
            place = folder / "source" / split / CLASSES[record[0]]
            place.mkdir(parents=True, exist_ok=True)
            pixels = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
            Image.fromarray(pixels).save(place / f"{file.name.split('.')[0]}-{number:04d}.png", compress_level=0)
            counts[split] = counts.get(split, 0) + 1
    job = ("--dataset", "folder", "--data-dir", folder / "source", "--name", "lossless", "--ranks", 2)
    build(*job, "--components", "full", "--out", folder / "out")
    splits = json.loads((folder / "out" / "manifest.json").read_text())["splits"]
    assert {split: splits[split]["samples"] for split in splits} == counts
    return folder / "out"
