"""Measures how much two processes can do at once on this machine: more than that two workers cannot do either."""

import multiprocessing
import statistics
import time
from typing import Any

import numpy as np

from pipeline.numerics.runtime import prepare

_SECONDS = 2.0


def measure(rounds: int) -> None:
    """Prints the work of two processes relative to one: eigenvectors of small matrices, which stay in the cache."""
    ratios = [_together(2) / _together(1) for _ in range(rounds)]
    print(
        f"\nThis machine: two processes do {statistics.median(ratios):.2f} times the arithmetic of one ({rounds} rounds)"
    )


def _together(processes: int) -> int:
    spawn = multiprocessing.get_context("spawn")
    counts, started = spawn.Queue(), spawn.Barrier(processes)
    each = [spawn.Process(target=_work, args=(counts, started)) for _ in range(processes)]
    for process in each:
        process.start()
    done = sum(counts.get() for _ in each)
    for process in each:
        process.join()
    return int(done)


def _work(counts: Any, started: Any) -> None:
    prepare()
    matrix = np.cov(np.random.default_rng(0).normal(size=(32, 64)))
    started.wait()
    end, done = time.monotonic() + _SECONDS, 0
    while time.monotonic() < end:
        np.linalg.eigh(matrix)
        done += 1
    counts.put(done)
