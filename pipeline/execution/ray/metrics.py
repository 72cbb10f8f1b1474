"""Ray's metrics of a build, at the Prometheus endpoint of the driver's node: counters by run and by the node that worked."""

import contextlib

from pipeline.execution.failure import Failure
from pipeline.planning.shard_task import Progress

_LABELS = ("node", "run")
_COUNTERS = {
    "images": ("Images that are written in all variants.", _LABELS),
    "shards": ("Shards that are committed.", _LABELS),
    "rejects": ("Images that could not be decoded.", _LABELS),
    "retries": ("Failed tries of shards that are tried again.", _LABELS),
    "stage_seconds": ("Seconds of work of all workers.", (*_LABELS, "stage")),
}
_UNKNOWN = "unknown"


class RayMetrics:
    """Counts what happens to the shards of a run. Needs a connected Ray.

    Prometheus sees, for example, ``ray_rank_shards_images_total{node="node7",run="4f2a..."}``.

    Args:
        run: the identity of the run, as in ``.build/runs.jsonl``.
    """

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Counter

        self._run = run
        self._counters = {name: Counter(f"rank_shards_{name}", text, keys) for name, (text, keys) in _COUNTERS.items()}

    def built(self, progress: Progress) -> None:
        """A shard is committed."""
        self._add("shards", 1, progress.node)
        self._add("images", progress.images, progress.node)
        self._add("rejects", len(progress.rejects), progress.node)
        for stage, seconds in progress.seconds.items():
            self._add("stage_seconds", seconds, progress.node, stage=stage)

    def retried(self, failure: Failure) -> None:
        """A failed shard will be tried again."""
        self._add("retries", 1, failure.node or _UNKNOWN)

    def _add(self, name: str, amount: float, node: str, **labels: str) -> None:
        if amount > 0:
            with contextlib.suppress(Exception):  # a build does not fail for its metrics
                self._counters[name].inc(amount, {"node": node, "run": self._run, **labels})
