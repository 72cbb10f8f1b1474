"""Intervals equal scipy's and the bootstrap's, and cover the true value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipeline.study.intervals import paired_difference, share, wilson


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipys(counts: tuple[int, int]) -> None:
    hits, trials = counts
    theirs = binomtest(hits, trials).proportion_ci(method="wilson")
    ours = wilson(hits, trials)
    assert float(ours.low) == pytest.approx(theirs.low, abs=1e-12)
    assert float(ours.high) == pytest.approx(theirs.high, abs=1e-12)


def test_no_trials_give_nan() -> None:
    assert all(np.isnan(part) for part in wilson(0, 0))


def pairs(rng: np.random.Generator, n: int, cells: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns hits of two networks; ``cells`` are the probabilities of both, only the first, only the second, neither."""
    drawn = rng.choice(4, n, p=cells)
    return drawn < 2, (drawn == 0) | (drawn == 2)


@pytest.mark.parametrize("cells", [(0.5, 0.2, 0.1, 0.2), (0.85, 0.08, 0.02, 0.05), (0.25, 0.25, 0.25, 0.25)])
def test_paired_intervals_cover_the_true_difference_in_95_per_cent(cells: tuple[float, float, float, float]) -> None:
    rng = np.random.default_rng(3)
    draws = [pairs(rng, 150, cells) for _ in range(3000)]
    interval = paired_difference(np.stack([first for first, _ in draws]), np.stack([second for _, second in draws]))
    truth = cells[1] - cells[2]
    covered = ((interval.low <= truth) & (truth <= interval.high)).mean()
    assert 0.94 < covered < 0.98


def test_paired_interval_is_near_the_bootstrap_and_narrower_than_unpaired() -> None:
    rng = np.random.default_rng(5)
    p, q = pairs(rng, 1000, (0.6, 0.15, 0.05, 0.2))
    interval = paired_difference(p, q)
    drawn = rng.integers(0, 1000, (4000, 1000))
    low, high = np.quantile(p[drawn].mean(1) - q[drawn].mean(1), (0.025, 0.975))
    assert interval.low == pytest.approx(low, abs=0.004)
    assert interval.high == pytest.approx(high, abs=0.004)
    first, second = wilson(p.sum(), 1000), wilson(q.sum(), 1000)
    unpaired = np.hypot(first.value - first.low, second.high - second.value)
    assert interval.value - interval.low < 0.75 * unpaired


def test_paired_differences_are_antisymmetric_and_at_most_1() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.random((50, 20)) < 0.9, rng.random((50, 20)) < 0.2
    ahead, back = paired_difference(p, q), paired_difference(q, p)
    np.testing.assert_allclose(ahead.low, -back.high, atol=1e-12)
    assert (ahead.high <= 1).all()
    same = paired_difference(p, p)
    assert (same.value == 0).all()
    assert (same.low <= 0).all()


def test_share_covers_the_true_ratio() -> None:
    rng = np.random.default_rng(1)
    whole = rng.normal(1, 0.1, 4000)
    interval = share(0.3 * whole + rng.normal(0, 0.05, 4000), whole)
    assert interval.low < 0.3 < interval.high
    assert interval.high - interval.low < 0.01
    assert np.isnan(share(whole, rng.normal(0, 1, 4000)).value)
