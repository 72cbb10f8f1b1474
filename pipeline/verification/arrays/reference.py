"""Recomputes images in float64 with ``numpy.linalg.svd`` and ``numpy.fft``, and compares an output's bytes with them.

The contract (docs/numerics.md): low = clip(rint(255 A_k)) and high = clip(X - rint(255 A_k) + 128), except within
1e-5 of a rounding tie; a band is clip(rint(255 A_b) - rint(255 A_a) + 128); frequencies are cut as ranks are. Where
sigma_{k+1} is negligible A_k is the image itself; where sigma_k = sigma_{k+1} it is not unique, and the energy of the
residual is compared instead (Eckart and Young).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.verification.manifest.claims import OFFSET, Variant

TIE = 1e-5  # grey levels
GAP = 1e-9  # of sigma_1
FLOAT = 1e-6  # of an image in [0, 1]: float32 values, which may be slightly outside
FACTORS_ALLOWED = 0.001  # grey levels, of a low-rank image from factors that are not rounded
CHANNELS = ("red", "green", "blue")
_LEAST_NORMAL = 2.0**-14  # of float16: smaller values are rounded like this one


class Counts(NamedTuple):
    """Counts of compared bytes, of reference subpixels near a rounding tie, and of planes whose A_k is not unique."""

    bytes: int = 0
    ties: int = 0
    degenerate: int = 0

    def plus(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


class Compared(NamedTuple):
    """One image compared with its reference.

    Attributes:
        values: float64 (3, n), its singular values in [0, 1] scale, descending.
        problems: what is wrong, by variant.
    """

    values: np.ndarray
    problems: dict[Variant, str]
    counts: Counts


class _End(NamedTuple):
    """A plane up to a rank or a radius.

    Attributes:
        exact: float64 grey levels.
        rounded: whole grey levels.
        other: the same, with the other right value where ``exact`` is near a rounding tie.
    """

    exact: np.ndarray
    rounded: np.ndarray
    other: np.ndarray


def compare(image: np.ndarray, cuts: Mapping[Variant, np.ndarray]) -> Compared:
    """Recomputes every cut of an image, and compares it.

    Args:
        image: uint8 (h, w, 3).
        cuts: variants other than full with their pixels, uint8 or float32 (h, w, 3).
    """
    values, counts = [], Counts()
    problems: dict[Variant, str] = {}
    for channel in range(3):
        plane = image[..., channel].astype(np.float64)
        left, sigma, right = np.linalg.svd(plane, full_matrices=False)
        values.append(sigma / 255)
        ends: dict[tuple[str, int], _End | None] = {}
        for kind, size in sorted({end for variant in cuts for end in _ends(variant)}):
            exact = _lowpass(plane, size) if kind == "radius" else _low(plane, left, sigma, right, size)
            ends[kind, size] = end = None if exact is None else _rounded(exact)
            ties = 0 if end is None else int(np.count_nonzero(end.rounded != end.other))
            counts = counts.plus(Counts(ties=ties, degenerate=int(end is None)))
        for variant, pixels in cuts.items():
            needed = [ends[end] for end in _ends(variant)]
            unique = [end for end in needed if end is not None]
            if len(unique) < len(needed):
                problem = _energy(variant, plane, pixels[..., channel], sigma)
            elif variant.form == "npy":
                problem = _floats(_exact(variant, plane, unique) / 255, pixels[..., channel])
            else:
                problem = _bytes(variant, plane, unique, pixels[..., channel])
                counts = counts.plus(Counts(bytes=plane.size))
            if problem:
                problems.setdefault(variant, f"{CHANNELS[channel]}: {problem}")
    return Compared(np.array(values), problems, counts)


def _ends(variant: Variant) -> list[tuple[str, int]]:
    """Returns the ranks or the radius that a variant is cut at; of a band, the upper and the lower rank."""
    ends = (("rank", variant.rank), ("rank", variant.above), ("radius", variant.radius))
    return [end for end in ends if end[1]]


def _low(plane: np.ndarray, left: np.ndarray, sigma: np.ndarray, right: np.ndarray, rank: int) -> np.ndarray | None:
    """Returns 255 A_k, or None if it is not unique."""
    following = sigma[rank] if rank < len(sigma) else 0.0
    if following <= GAP * sigma[0]:
        return plane
    if sigma[rank - 1] - following <= GAP * sigma[0]:
        return None
    kept: np.ndarray = (left[:, :rank] * sigma[:rank]) @ right[:rank]
    return kept


def _lowpass(plane: np.ndarray, radius: int) -> np.ndarray:
    """Returns 255 F_r: the plane of the frequencies u^2 + v^2 <= r^2 alone."""
    v, u = (np.rint(np.fft.fftfreq(size, 1 / size)) for size in plane.shape)  # fftfreq(49, 1 / 49)[1] is above 1
    kept: np.ndarray = np.fft.ifft2(np.fft.fft2(plane) * (v[:, None] ** 2 + u**2 <= radius**2)).real
    return kept


def _rounded(exact: np.ndarray) -> _End:
    rounded = np.rint(exact)
    tie = 0.5 - np.abs(exact - rounded) < TIE
    return _End(exact, rounded, np.where(tie, rounded + np.sign(exact - rounded), rounded))


def _exact(variant: Variant, plane: np.ndarray, ends: list[_End]) -> np.ndarray:
    """Returns the values of a float32 variant, in grey levels."""
    first, second = [end.exact for end in ends] if variant.component == "band" else [plane, ends[0].exact]
    values: np.ndarray = first - second if variant.signed else second
    return values


def _bytes(variant: Variant, plane: np.ndarray, ends: list[_End], pixels: np.ndarray) -> str:
    """Returns which bytes are neither the reference's nor those on the other side of a tie, or an empty string."""
    if variant.component == "band":
        levels = [upper - lower for upper in ends[0][1:] for lower in ends[1][1:]]
    else:
        levels = [plane - kept if variant.signed else kept for kept in ends[0][1:]]
    allowed = [np.clip(level + OFFSET * variant.signed, 0, 255) for level in levels]
    wrong = np.logical_and.reduce([pixels != right for right in allowed])
    if not wrong.any():
        return ""
    row, column = np.argwhere(wrong)[0]
    return (
        f"{np.count_nonzero(wrong):,} of {wrong.size:,} bytes are not those of the float64 reference, "
        f"the first at row {row}, column {column}: {pixels[row, column]}, should be {allowed[0][row, column]:.0f}"
    )


def _energy(variant: Variant, plane: np.ndarray, pixels: np.ndarray, sigma: np.ndarray) -> str:
    """Returns how the norm of a residual X - R, or of a band, differs from its singular values, or an empty string.

    Rounding moves each subpixel by at most 1/2, and twice in a band; float32 values are not rounded or clipped. Where
    subpixels are clipped, the norm of the residual is at least that of the pixels.
    """
    band, exact = variant.component == "band", variant.form == "npy"
    levels = pixels.astype(np.float64) * (255 if exact else 1)
    differs = levels if exact else levels - OFFSET
    residual = differs if variant.signed else plane - levels
    part = sigma[variant.above : variant.rank] if band else sigma[variant.rank :]
    norm, length = (float(np.sqrt(np.sum(np.square(of)))) for of in (part, residual))
    slack = (255 * FLOAT if exact else 0.5 * (1 + band)) * np.sqrt(plane.size) + 1e-6
    clipped = not exact and bool(((pixels == 0) | (pixels == 255)).any())
    if length > norm + slack or (not clipped and length < norm - slack):
        of = "the band" if band else "the residual"
        return f"{of} has norm {length:.4f}, {'its' if band else 'the remaining'} singular values {norm:.4f}"
    return ""


def _floats(expected: np.ndarray, pixels: np.ndarray) -> str:
    """Returns which float32 values differ from the expected ones by more than ``FLOAT``, or an empty string."""
    apart = np.abs(pixels - expected)
    if apart.max() <= FLOAT:
        return ""
    row, column = np.unravel_index(apart.argmax(), apart.shape)
    return (
        f"{np.count_nonzero(apart > FLOAT):,} of {apart.size:,} values are not those of the float64 reference, the "
        f"worst at row {row}, column {column}: {pixels[row, column]:.7f}, should be {expected[row, column]:.7f}"
    )


def wrong_factors(image: np.ndarray, row: Mapping[str, np.ndarray], rounding: float) -> str:
    """Returns what is wrong with an image's triplets, or an empty string.

    Args:
        image: uint8 (h, w, 3).
        row: ``u`` (3, h, K), ``s`` (3, K), ``v`` (3, w, K).
        rounding: the relative error that an entry of ``u`` and ``v`` may have.
    """
    most = row["s"].shape[1]
    for channel in range(3):
        left, sigma, right = np.linalg.svd(image[..., channel].astype(np.float64), full_matrices=False)
        u, s, v = (row[name][channel].astype(np.float64) for name in "usv")
        for rank in sorted({1, (most + 1) // 2, most}):
            kept = left[:, :rank], sigma[:rank], right[:rank]
            product = 255 * (u[:, :rank] * s[:rank]) @ v[:, :rank].T
            allowed = FACTORS_ALLOWED + _moved(*kept, rounding)
            if rank < len(sigma) and sigma[rank - 1] - sigma[rank] <= 1e-6 * sigma[0] and sigma[rank] > GAP * sigma[0]:
                # not unique: the norm of what it leaves out is that of the remaining singular values
                lengths = [float(np.linalg.norm(of)) for of in (image[..., channel] - product, sigma[rank:], allowed)]
                if not abs(lengths[0] - lengths[1]) <= lengths[2]:
                    return (
                        f"{CHANNELS[channel]}: what they leave out at rank {rank} has norm {lengths[0]:.4f}, "
                        f"the remaining singular values {lengths[1]:.4f}"
                    )
                continue
            apart = np.abs(product - (kept[0] * kept[1]) @ kept[2])
            worst = (apart - allowed).argmax()  # a NaN before all
            if not apart.flat[worst] <= allowed.flat[worst]:
                return (
                    f"{CHANNELS[channel]}: at rank {rank} they are {apart.flat[worst]:.4f} grey levels off, "
                    f"{allowed.flat[worst]:.4f} allowed"
                )
    return ""


def _moved(left: np.ndarray, sigma: np.ndarray, right: np.ndarray, rounding: float) -> np.ndarray:
    """How far rounding U and V may move each subpixel of U S V^T, grey levels (h, w): ``2 rounding sum s |u| |v|``, which
    the inequality of Cauchy and Schwarz bounds alike in every basis that equal singular values leave open."""
    rows, columns = np.sqrt(left**2 @ sigma), np.sqrt(sigma @ right**2)
    below_normal = _LEAST_NORMAL * 2 * sigma.sum()
    return np.asarray(rounding * ((2 + rounding) * np.outer(rows, columns) + below_normal))
