"""Images recomputed in float64 by ``numpy.linalg.svd``, and the bytes of an output held against them.

The contract (docs/numerics.md): low = clip(rint(255 A_k)) and high = clip(X - rint(255 A_k) + 128), save within 1e-5
of a rounding tie. Where sigma_{k+1} is negligible A_k is the image itself; where sigma_k = sigma_{k+1} it is not
unique, and the energy of the residual is what remains to be proven (Eckart and Young).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.proof.manifest import OFFSET, Variant

TIE = 1e-5  # grey levels
GAP = 1e-9  # of sigma_1
FLOAT = 1e-6  # of an image in [0, 1]: float32 values, which may lie somewhat outside
CHANNELS = ("red", "green", "blue")


class Counts(NamedTuple):
    """What was compared: bytes, subpixels of the reference near a rounding tie, planes whose A_k is not unique."""

    bytes: int = 0
    ties: int = 0
    degenerate: int = 0

    def plus(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


class Compared(NamedTuple):
    """One image against its reference.

    Attributes:
        values: float64 (3, n), its singular values in [0, 1] scale, descending.
        problems: what is wrong, by variant.
    """

    values: np.ndarray
    problems: dict[Variant, str]
    counts: Counts


def compare(image: np.ndarray, cuts: Mapping[Variant, np.ndarray]) -> Compared:
    """Recompute every cut of an image.

    Args:
        image: uint8 (h, w, 3).
        cuts: low and high variants with their pixels, uint8 or float32 (h, w, 3).
    """
    values, counts = [], Counts()
    problems: dict[Variant, str] = {}
    for channel in range(3):
        plane = image[..., channel].astype(np.float64)
        left, sigma, right = np.linalg.svd(plane, full_matrices=False)
        values.append(sigma / 255)
        for rank in sorted({variant.rank for variant in cuts}):
            parts = {v: pixels[..., channel] for v, pixels in cuts.items() if v.rank == rank and v.form == "png"}
            floats = {v: pixels[..., channel] for v, pixels in cuts.items() if v.rank == rank and v.form == "npy"}
            parts = {v: pixels.astype(np.int32) for v, pixels in parts.items()}
            following = sigma[rank] if rank < len(sigma) else 0.0
            negligible = following <= GAP * sigma[0]
            if not negligible and sigma[rank - 1] - following <= GAP * sigma[0]:
                norm = float(np.sqrt(np.sum(sigma[rank:] ** 2)))
                found = _energy(plane, parts, norm) | _float_energy(plane, floats, norm)
                counts = counts.plus(Counts(degenerate=1))
            else:
                exact = plane if negligible else (left[:, :rank] * sigma[:rank]) @ right[:rank]
                ties, found = _bytes(plane, exact, parts)
                found |= _floats(plane, exact, floats)
                counts = counts.plus(Counts(bytes=plane.size * len(parts), ties=ties))
            for variant, problem in found.items():
                problems.setdefault(variant, f"{CHANNELS[channel]}: {problem}")
    return Compared(np.array(values), problems, counts)


def _bytes(plane: np.ndarray, exact: np.ndarray, parts: Mapping[Variant, np.ndarray]) -> tuple[int, dict[Variant, str]]:
    """Subpixels near a tie, and the variants whose bytes are not the reference's."""
    rounded = np.rint(exact)
    tie = 0.5 - np.abs(exact - rounded) < TIE
    other = np.where(tie, rounded + np.sign(exact - rounded), rounded)  # the byte on the tie's other side is right, too
    problems = {}
    for variant, pixels in parts.items():
        first, second = (
            np.clip(r if variant.component == "low" else plane - r + OFFSET, 0, 255) for r in (rounded, other)
        )
        wrong = (pixels != first) & (pixels != second)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            problems[variant] = (
                f"{np.count_nonzero(wrong):,} of {wrong.size:,} bytes are not those of the float64 reference, "
                f"the first at row {row}, column {column}: {pixels[row, column]}, should be {first[row, column]:.0f}"
            )
    return int(np.count_nonzero(tie)), problems


def _energy(plane: np.ndarray, parts: Mapping[Variant, np.ndarray], norm: float) -> dict[Variant, str]:
    """The variants whose residual X - R is longer or shorter than the remaining singular values, beyond rounding.

    Rounding moves each subpixel by at most 1/2. The residual of a clipped subpixel is only known to be no shorter.
    """
    slack = 0.5 * np.sqrt(plane.size) + 1e-6
    problems = {}
    for variant, pixels in parts.items():
        residual = plane - pixels if variant.component == "low" else pixels - float(OFFSET)
        length = float(np.sqrt(np.sum(residual**2)))
        clipped = ((pixels == 0) | (pixels == 255)).any()
        if length > norm + slack or (not clipped and length < norm - slack):
            problems[variant] = f"the residual has norm {length:.2f}, the remaining singular values {norm:.2f}"
    return problems


def _floats(plane: np.ndarray, exact: np.ndarray, parts: Mapping[Variant, np.ndarray]) -> dict[Variant, str]:
    """The float32 variants that are not A_k, or X / 255 - A_k, within ``FLOAT``."""
    problems = {}
    for variant, pixels in parts.items():
        wanted = (exact if variant.component == "low" else plane - exact) / 255
        apart = np.abs(pixels - wanted)
        if not apart.max() <= FLOAT:
            row, column = np.unravel_index(apart.argmax(), apart.shape)
            problems[variant] = (
                f"{np.count_nonzero(apart > FLOAT):,} of {apart.size:,} values are not those of the float64 reference, the "
                f"worst at row {row}, column {column}: {pixels[row, column]:.7f}, should be {wanted[row, column]:.7f}"
            )
    return problems


def _float_energy(plane: np.ndarray, parts: Mapping[Variant, np.ndarray], norm: float) -> dict[Variant, str]:
    """As ``_energy``, where nothing is rounded or clipped."""
    problems = {}
    for variant, pixels in parts.items():
        residual = plane / 255 - pixels if variant.component == "low" else pixels
        length = 255 * float(np.sqrt(np.sum(np.square(residual, dtype=np.float64))))
        if abs(length - norm) > 255 * FLOAT * np.sqrt(plane.size):
            problems[variant] = f"the residual has norm {length:.4f}, the remaining singular values {norm:.4f}"
    return problems


def wrong_factors(image: np.ndarray, row: Mapping[str, np.ndarray], allowed: float) -> str:
    """What is wrong with an image's triplets, or an empty string.

    Args:
        image: uint8 (h, w, 3).
        row: ``u`` (3, h, K), ``s`` (3, K), ``v`` (3, w, K).
        allowed: grey levels that a low-rank image from them may be off.
    """
    most = row["s"].shape[1]
    for channel in range(3):
        left, sigma, right = np.linalg.svd(image[..., channel].astype(np.float64), full_matrices=False)
        u, s, v = (row[name][channel].astype(np.float64) for name in "usv")
        for rank in sorted({1, (most + 1) // 2, most}):
            if rank < len(sigma) and sigma[rank - 1] - sigma[rank] <= 1e-6 * sigma[0] and sigma[rank] > GAP * sigma[0]:
                continue  # not unique
            apart = np.abs(
                255 * (u[:, :rank] * s[:rank]) @ v[:, :rank].T - (left[:, :rank] * sigma[:rank]) @ right[:rank]
            )
            if not apart.max() <= allowed:
                return (
                    f"{CHANNELS[channel]}: at rank {rank} they are {apart.max():.4f} grey levels off, {allowed} allowed"
                )
    return ""
