"""Confidence intervals (95 %) of proportions, of paired differences, and of shares of a difference."""

from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


class Interval(NamedTuple):
    """Estimates with their 95 % intervals, as float64 arrays of one shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def wilson(hits: np.ndarray | int, trials: np.ndarray | int) -> Interval:
    """Returns a proportion with Wilson's score interval (1927). NaN if there are no trials.

    Args:
        hits, trials: integers, of shapes that broadcast.
    """
    hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = hits / trials
        centre = (hits + Z**2 / 2) / (trials + Z**2)
        half = Z / (trials + Z**2) * np.sqrt(hits * (trials - hits) / trials + Z**2 / 4)
    low = np.where(hits == 0, 0.0, centre - half)  # exact at 0 and 1, where rounding would leave 1e-17
    high = np.where(hits == trials, 1.0, centre + half)
    empty = trials == 0
    return Interval(share, np.where(empty, np.nan, low), np.where(empty, np.nan, high))


def paired_difference(first: np.ndarray, second: np.ndarray) -> Interval:
    """Returns the difference of two proportions over the same images, with Newcombe's score interval for pairs.

    Method 10 of R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17 (1998). It combines the Wilson intervals of both proportions with the correlation
    of the pairs, and excludes zero nearly always when McNemar's test rejects equality.

    Args:
        first, second: bool (..., n), whether each image is a hit.
    """
    n = first.shape[-1]
    both = (first & second).sum(-1)
    only_first, only_second = (first & ~second).sum(-1), (~first & second).sum(-1)
    neither = n - both - only_first - only_second
    p, q = wilson(both + only_first, n), wilson(both + only_second, n)
    product = both * neither - only_first * only_second.astype(np.float64)
    corrected = np.where(product > 0, np.maximum(product - n / 2, 0.0), product)
    margins = (
        (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither.astype(float))
    )
    phi = np.divide(corrected, np.sqrt(margins), out=np.zeros_like(corrected), where=margins > 0)
    below = _combine(p.value - p.low, q.high - q.value, phi)
    above = _combine(p.high - p.value, q.value - q.low, phi)
    difference = p.value - q.value
    return Interval(difference, difference - below, difference + above)


def _combine(a: np.ndarray, b: np.ndarray, phi: np.ndarray) -> np.ndarray:
    combined: np.ndarray = np.sqrt(np.maximum(a**2 - 2 * phi * a * b + b**2, 0.0))
    return combined


def share(part: np.ndarray, whole: np.ndarray, resamples: int = 2000, seed: int = 0) -> Interval:
    """Returns the mean of ``part`` divided by the mean of ``whole``, with a percentile bootstrap over the images.

    The result is NaN if the bootstrap interval of ``whole`` contains zero.

    Args:
        part, whole: (..., n), one value per image, such as the difference of two networks' hits.
    """
    n = part.shape[-1]
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples).T / n
    parts, wholes = part.astype(np.float64) @ weights, whole.astype(np.float64) @ weights
    with np.errstate(divide="ignore", invalid="ignore"):
        value = part.mean(-1) / whole.mean(-1)
        low, high = np.quantile(np.where(wholes == 0, np.nan, parts / wholes), (0.025, 0.975), axis=-1)
    smallest, largest = np.quantile(wholes, (0.025, 0.975), axis=-1)
    unclear = (smallest <= 0) & (largest >= 0)
    return Interval(*(np.where(unclear, np.nan, bound) for bound in (value, low, high)))
