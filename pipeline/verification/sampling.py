"""Chooses the images to recompute: the same ones every time, spread over all splits and shards."""

import hashlib
from collections.abc import Mapping

from pipeline.verification.manifest.claims import Manifest, ShardSet


def positions_to_recompute(
    manifest: Manifest, rejects: Mapping[str, frozenset[int]], count: int
) -> dict[tuple[str, int], list[int]]:
    """Returns output positions by split and shard number: about ``count`` of them, at least one of each split.

    Args:
        rejects: positions without an image, by split.
    """
    total = sum(split.samples for split in manifest.splits.values())
    chosen = {}
    for split, counts in manifest.splits.items():
        shards = [shard for shard in manifest.shards if shard.split == split]
        quota = max(1, round(count * counts.samples / total)) if count and counts.samples else 0
        for place, shard in enumerate(shards):
            share = (place + 1) * quota // len(shards) - place * quota // len(shards)
            if share:
                chosen[split, shard.number] = _positions(shard, rejects[split], share)
    return chosen


def _positions(shard: ShardSet, rejects: frozenset[int], share: int) -> list[int]:
    """Returns positions at equal distances, from a place that differs from shard to shard."""
    positions = [position for position in range(shard.start, shard.stop) if position not in rejects]
    share = min(share, len(positions))
    first = int.from_bytes(hashlib.sha256(f"{shard.split}-{shard.number}".encode()).digest()[:4])
    return sorted(positions[(first + i * len(positions) // share) % len(positions)] for i in range(share))
