"""95 % intervals of proportions, of paired differences, and of shares of a difference."""

from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


class Interval(NamedTuple):
    """An estimate with its 95 % interval; float64 arrays of one shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def wilson(hits: np.ndarray | int, trials: np.ndarray | int) -> Interval:
    """Proportion with Wilson's score interval (1927). NaN where there are no trials.

    Args:
        hits, trials: whole numbers, of shapes that broadcast.
    """
    hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = hits / trials
        centre = (hits + Z**2 / 2) / (trials + Z**2)
        half = Z / (trials + Z**2) * np.sqrt(hits * (trials - hits) / trials + Z**2 / 4)
    low = np.where(hits == 0, 0.0, centre - half)  # exact at the ends, where rounding would leave 1e-17
    high = np.where(hits == trials, 1.0, centre + half)
    none = trials == 0
    return Interval(share, np.where(none, np.nan, low), np.where(none, np.nan, high))


def paired_difference(first: np.ndarray, second: np.ndarray) -> Interval:
    """Difference of two proportions over the same images, with Newcombe's score interval for pairs.

    Method 10 of R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17 (1998): Wilson's intervals of both, joined by the correlation of the pairs.
    It excludes zero about where McNemar's test rejects.

    Args:
        first, second: bool (..., n), whether each image was a hit.
    """
    n = first.shape[-1]
    both = (first & second).sum(-1)
    only_first, only_second = (first & ~second).sum(-1), (~first & second).sum(-1)
    neither = n - both - only_first - only_second
    one, two = wilson(both + only_first, n), wilson(both + only_second, n)
    product = both * neither - only_first * only_second.astype(np.float64)
    corrected = np.where(product > 0, np.maximum(product - n / 2, 0.0), product)
    margins = (
        (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither.astype(float))
    )
    phi = np.divide(corrected, np.sqrt(margins), out=np.zeros_like(corrected), where=margins > 0)
    below, above = (
        _join(one.value - one.low, two.high - two.value, phi),
        _join(one.high - one.value, two.value - two.low, phi),
    )
    difference = one.value - two.value
    return Interval(difference, difference - below, difference + above)


def _join(a: np.ndarray, b: np.ndarray, phi: np.ndarray) -> np.ndarray:
    joined: np.ndarray = np.sqrt(np.maximum(a**2 - 2 * phi * a * b + b**2, 0.0))
    return joined


def share(part: np.ndarray, whole: np.ndarray, resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean of ``part`` over the mean of ``whole``, with a percentile bootstrap over images.

    Args:
        part, whole: (..., n), one value per image, such as the difference of two networks' hits.

    Returns:
        ratios; NaN where the whole is no different from zero: its own bootstrap interval holds zero.
    """
    n = part.shape[-1]
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples).T / n
    parts, wholes = part.astype(np.float64) @ drawn, whole.astype(np.float64) @ drawn
    with np.errstate(divide="ignore", invalid="ignore"):
        value = part.mean(-1) / whole.mean(-1)
        low, high = np.quantile(np.where(wholes == 0, np.nan, parts / wholes), (0.025, 0.975), axis=-1)
    least, most = np.quantile(wholes, (0.025, 0.975), axis=-1)
    unclear = (least <= 0) & (most >= 0)
    return Interval(*(np.where(unclear, np.nan, bound) for bound in (value, low, high)))
