"""Planes that provoke errors, photographs, and the judgement of their cuts by LAPACK's SVD."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.linalg import block_diag

from pipeline.numerics.geometry import Geometry
from pipeline.numerics.solved import Solved

EPS = 2.0**-52
TIE = 1e-5  # grey levels; the contract's band around a rounding tie
EXACT_TIE = 1e-9
GAP = 1e-9  # of sigma_1; the contract's definition of a cut that is not unique


def adversarial(height: int, width: int) -> dict[str, np.ndarray]:
    """Returns float64 planes (h, w) of whole grey levels: drawings, noise, and singular values that are equal or zero."""
    rng = np.random.default_rng(height * 1000 + width)
    rows, columns = np.mgrid[:height, :width]
    noise = rng.integers(0, 256, (height, width))
    symmetric = rng.integers(0, 256, (max(height, width),) * 2)
    symmetric = ((symmetric + symmetric.T) // 2)[:height, :width]
    eye = np.eye(height, width)
    tile = rng.integers(0, 256, (8, 8))
    blocks = np.zeros((height, width))
    for start in range(0, min(height, width) - 7, 8):
        blocks[start : start + 8, start : start + 8] = tile
    almost = blocks * 0.5 + 100
    almost[0, -1] += 1
    third = max(1, min(height, width) // 3)
    twice = np.zeros((height, width))  # two equal singular values
    twice[:third, :third] = twice[third : 2 * third, third : 2 * third] = noise[:third, :third]
    low_rank = {
        f"random of rank {rank}": np.clip(
            rng.integers(0, 12, (height, rank)) @ rng.integers(0, 7, (rank, width)), 0, 255
        )
        for rank in (1, 2, 3)
    }
    return {
        "black": np.zeros((height, width)),
        "white": np.full((height, width), 255.0),
        "grey": np.full((height, width), 1.0),
        "one bright pixel": 255.0 * ((rows == 5) & (columns == 7)),
        "first corner": 255.0 * ((rows == 0) & (columns == 0)),
        "corner": 255.0 * ((rows == height - 1) & (columns == width - 1)),
        "one row": 255.0 * (rows == height // 2),
        "identity": 255 * eye,
        "anti-identity": 200 * eye[::-1],
        "permutation": 200 * eye[rng.permutation(height)][:, rng.permutation(width)],
        "identity on grey": 100 + 100 * eye,
        "ramp across": columns % 256,
        "ramp down": rows % 256,
        "checkerboard": 255 * ((rows + columns) % 2),
        "coarse checkerboard": 255 * ((rows // 4 + columns // 4) % 2),
        "triangle": 9 * (columns >= rows),
        "staircase": np.minimum(rows, columns) % 256,
        "Toeplitz": np.abs(rows - columns) % 256,
        "rank 1": (rows % 16) * (columns % 16),
        "rank 2": (rows % 11) * (columns % 10) + (rows % 3) * (columns % 5),
        "rank 3": noise * (rows < 3),
        "two equal values": 200.0 * ((rows == 3) & (columns < 20))
        + 200.0 * ((rows == 9) & (columns >= 20) & (columns < 40)),
        "waves": np.clip(128 + 100 * np.sin(rows / 3) * np.cos(columns / 5), 0, 255),
        "noise": noise,
        "binary noise": 255 * (noise % 2),
        "faint noise": noise % 2,
        "bright and faint": 254 + noise % 2,
        "symmetric": symmetric,
        "blocks": blocks,
        "almost equal blocks": almost,
        "a block twice": twice,
        **low_rank,
    }


def photographs(shared: Path, count: int, side: int = 224) -> np.ndarray:
    """Returns uint8 (3 count, side, side)."""
    files = sorted((shared / "data" / "imagenet-samples").glob("*.JPEG"))
    step = max(1, len(files) // count)
    geometry = Geometry(side * 8 // 7, side)
    images = []
    for file in files[::step][:count]:
        with Image.open(file) as image:
            images.append(geometry.apply(np.asarray(image.convert("RGB")).transpose(2, 0, 1)))
    return np.concatenate(images)


def cuts_by_lapack(planes: np.ndarray, rank: int) -> np.ndarray:
    """Returns X_k of planes (p, h, w) by ``numpy.linalg.svd``, float64."""
    left, sigma, right = np.linalg.svd(planes.astype(np.float64), full_matrices=False)
    cuts: np.ndarray = (left[:, :, :rank] * sigma[:, None, :rank]) @ right[:, :rank]
    return cuts


def meeting_zero_pivots(more: int) -> np.ndarray:
    """Returns uint8 (24, 16 + more, 7 + more): drawings whose sixth eigenvalue meets a pivot of exactly zero.

    Args:
        more: number of single pixels that continue the diagonal of blocks.
    """
    drawings = []
    for x in range(117, 256, 6):
        blocks = [x * np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]])]
        blocks += [np.array([[x], [x], [x - 2 * i - 1]]) for i in range(4)]
        blocks += [np.array([[level]]) for level in np.linspace(20, 90, more).astype(int)]
        drawings.append(block_diag(*blocks).astype(np.uint8))
    return np.array(drawings)


class Verdict(NamedTuple):
    """Result of a comparison with LAPACK.

    Attributes:
        pixels: that were compared.
        wrong: pixels that differ, although they are not near a tie.
        ties: pixels near a tie.
        unsound: cuts that are recomputed, because the measured error of the vectors is too large.
        doubtful: other cuts that are recomputed, because of close singular values or an exact tie.
        degenerate: cuts that are not unique.
    """

    pixels: int = 0
    wrong: int = 0
    ties: int = 0
    unsound: int = 0
    doubtful: int = 0
    degenerate: int = 0

    def __add__(self, other: "Verdict") -> "Verdict":  # type: ignore[override]
        return Verdict(*(a + b for a, b in zip(self, other, strict=True)))


def judge(pixels: np.ndarray, ranks: tuple[int, ...], solved: Solved) -> Verdict:
    """Compares the cuts that are not recomputed with those of ``numpy.linalg.svd``."""
    exact = pixels.astype(np.float64)
    left, sigma, right = np.linalg.svd(exact, full_matrices=False)
    first = sigma[:, 0]
    np.testing.assert_allclose(
        solved.eigenvalues, sigma**2, rtol=0, atol=40 * EPS * max(float(np.max(first)) ** 2, 1.0)
    )
    total = Verdict()
    for i, rank in enumerate(ranks):
        last, following = sigma[:, rank - 1], sigma[:, rank]
        bound = 10 * EPS * solved.eigenvalues[:, 0]
        sound = (solved.residual[:, rank - 1] <= bound) & (solved.skew[:, rank - 1] <= 1e-8)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = EPS * first**2 * last / (last**2 - following**2)
        unknown = np.sqrt(min(exact.shape[1:]) * EPS) * first  # smaller values count as zero
        doubtful = (~(error <= 1e-6) & (np.maximum(following, unknown) > 0.25)) | (solved.margins[i] < EXACT_TIE)
        negligible = following <= GAP * first
        degenerate = (last - following <= GAP * first) & ~negligible
        cut = (left[:, :, :rank] * sigma[:, None, :rank]) @ right[:, :rank]
        cut[negligible] = exact[negligible]
        levels = np.rint(cut)
        tie = 0.5 - np.abs(cut - levels) < TIE
        compared = sound & ~doubtful & ~degenerate
        wrong = ((solved.rounded[i] != levels) & ~tie)[compared]
        total += Verdict(
            wrong.size,
            *map(int, (wrong.sum(), tie[compared].sum(), (~sound).sum(), (sound & doubtful).sum(), degenerate.sum())),
        )
    return total
