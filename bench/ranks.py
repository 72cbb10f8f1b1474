"""Measures the time to make a rank-k image as a function of k (the paper's figure 12)."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import inputs
from pipeline.numerics.batch import compute
from pipeline.numerics.geometry import Geometry
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import Variant
from pipeline.sources.images import decode_image

IMAGES = 10  # as in the paper
SIDE = 224
RANKS = (1, 5, 10, 20, 30, 40, 50, 75, 100, 150, 200, 223)


def measure(scratch: Path, rounds: int) -> None:
    """Prints milliseconds per image, from 8-bit pixels to 8-bit pixels, for numpy's SVD and for this pipeline."""
    files = sorted(inputs.photograph_folder(scratch / "folder", 400).rglob("*.jpg"))[:IMAGES]
    geometry = Geometry(SIDE, SIDE)
    images = [np.ascontiguousarray(geometry.apply(decode_image(file.read_bytes()).pixels)) for file in files]
    print(f"\nRank-k images of {SIDE} x {SIDE}, {IMAGES} photographs ({rounds} rounds in turn, medians), ms an image")
    print(f"{'k':>8}{'numpy svd':>12}{'this':>10}{'ratio':>8}")
    for rank in RANKS:
        ways: tuple[Callable[[np.ndarray, int], object], ...] = (_plain, _ours)
        times = [[_seconds(way, images, rank) for way in ways] for _ in range(rounds)]
        plain, ours = (1000 * statistics.median(column) / IMAGES for column in zip(*times, strict=True))
        print(f"{rank:8}{plain:12.2f}{ours:10.2f}{statistics.median(a / b for a, b in times):8.1f}")


def _seconds(way: Callable[[np.ndarray, int], object], images: list[np.ndarray], rank: int) -> float:
    start = time.perf_counter()
    for image in images:
        way(image, rank)
    return time.perf_counter() - start


def _plain(image: np.ndarray, rank: int) -> np.ndarray:
    left, values, right = np.linalg.svd(image.astype(np.float64), full_matrices=False)
    approximation: np.ndarray = (left[:, :, :rank] * values[:, None, :rank]) @ right[:, :rank]
    low: np.ndarray = np.clip(np.rint(approximation), 0, 255).astype(np.uint8)
    return low


def _ours(image: np.ndarray, rank: int) -> object:
    return compute(image[None], Recipe((Variant("low", rank),), min(image.shape[1:])))
