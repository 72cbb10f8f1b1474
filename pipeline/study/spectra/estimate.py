"""Estimates how long a rank spectrum takes, by measuring two small parts of it."""

import time
from collections.abc import Sequence

from pipeline.liveness import duration
from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.spectra.spectrum import Plan, few_ranks, run

_FEW, _MORE = 1, 5  # ranks measured, beside the image itself


def estimate(networks: Sequence[Network], images: Images, plan: Plan, threads: int) -> float:
    """Returns the estimated seconds of a spectrum of all images.

    A first batch in each thread is measured at a few ranks and at more ranks. The difference is the cost of a rank.
    """
    sample = images.first(plan.batch * threads)

    def seconds(ranks: int) -> float:
        began = time.perf_counter()
        run(networks, sample, few_ranks(plan, ranks), threads=threads)
        return time.perf_counter() - began

    seconds(_FEW)  # the first batch of a network is slower
    few, more = seconds(_FEW), seconds(_MORE)
    rank = max(more - few, 0.0) / (_MORE - _FEW)
    return (few + rank * max(0, len(plan.ranks) - 1 - _FEW)) * len(images) / len(sample)


def dry_run(networks: Sequence[Network], images: Images, plan: Plan, threads: int) -> str:
    """Returns a line for people: what would be computed, and how long it takes on this machine."""
    seconds = estimate(networks, images, plan, threads)
    return (
        f"{len(images):,} images, {len(plan.ranks)} ranks, {len(plan.families)} families, {len(networks)} networks: about "
        f"{duration(seconds)} in {threads} threads. Nothing was written."
    )
