"""What an output holds: everything that its bytes depend on, and how it may grow."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline import png
from pipeline.errors import PipelineError, UsageError, nearest
from pipeline.factors import DTYPES, Factors
from pipeline.job import Job
from pipeline.sources.index import MAX_SIDE, SourceIndex
from pipeline.variants import OFFSET, Variant, canonical

FORMAT = 1
# Version of the numerical contract (docs/numerics.md): the same for every backend that keeps it.
NUMERICS = 1


@dataclass(frozen=True)
class Content:
    """The output's own description, kept with it. The last four fields may grow; any other change is another output.

    Attributes:
        fingerprint: of the source.
        shape: (height, width) of every image, pixels.
        limit: first output positions of each split that are built; None for all.
        factors: None where none are kept.
    """

    name: str
    dataset: str
    fingerprint: str
    verified: bool
    shape: tuple[int, int]
    order: str
    seed: int
    samples_per_shard: int
    variants: tuple[Variant, ...]
    splits: tuple[str, ...]
    limit: int | None
    factors: Factors | None

    def fixed(self) -> dict[str, Any]:
        """What may not change, under the names that a user knows."""
        return {
            "format": FORMAT,
            "numerics": NUMERICS,
            "encoder": png.ENCODER,
            "high-rank offset": OFFSET,
            "name": self.name,
            "dataset": self.dataset,
            "source fingerprint": self.fingerprint,
            "image size": list(self.shape),
            "order": self.order,
            "seed": self.seed,
            "samples-per-shard": self.samples_per_shard,
        }

    def to_json(self) -> bytes:
        grows = {
            "variants": [v.name for v in self.variants],
            "splits": list(self.splits),
            "limit": self.limit,
            "factors": asdict(self.factors) if self.factors else None,
        }
        return json.dumps({"fixed": self.fixed(), "verified": self.verified, "grows": grows}, indent=1).encode()


def resolve(job: Job, index: SourceIndex, default_order: str) -> Content:
    """The content that a job asks for, with the source's defaults filled in.

    Raises:
        UsageError: a split that the source does not have, or a rank that its images are too small for.
    """
    height, width = index.shape
    rank = max([variant.rank for variant in job.variants] + [job.factors.rank if job.factors else 0])
    if rank >= min(height, width):
        raise UsageError(
            f"ranks: {rank} is too large for {height} x {width} images; "
            f"a rank must be from 1 to {min(height, width) - 1}"
        )
    if max(height, width) > MAX_SIDE:
        raise UsageError(f"images of {height} x {width} pixels are larger than {MAX_SIDE} pixels a side")
    for split in job.splits or ():
        if split not in index.splits:
            raise UsageError(
                f"splits: {split!r} is not in the source{nearest(split, index.splits)}; it has {', '.join(index.splits)}"
            )
        if not len(index.splits[split]):
            raise PipelineError(f"splits: {split} of the source holds no images")
    order = job.order or default_order
    return Content(
        name=job.name,
        dataset=job.dataset,
        fingerprint=index.fingerprint(),
        verified=index.verified,
        shape=index.shape,
        order=order,
        seed=job.seed if order == "shuffled" else 0,
        samples_per_shard=job.samples_per_shard or (1250 if max(height, width) <= 64 else 1000),
        variants=job.variants,
        splits=tuple(
            split for split in index.splits if split in (job.splits or index.splits) and index.splits[split].names
        ),
        limit=job.limit,
        factors=job.factors,
    )


def grow(existing: bytes, wanted: Content, index: SourceIndex) -> Content:
    """The content that holds both what an output has and what is wanted.

    An output is always a full rectangle: every variant in every split up to the limit.

    Args:
        existing: the output's description, as ``Content.to_json`` wrote it.

    Raises:
        PipelineError: a difference that is not growth; the line says which.
    """
    try:
        old = json.loads(existing)
        fixed, grows, verified = old["fixed"], old["grows"], old["verified"]
        variants = [Variant.parse(name) for name in grows["variants"]]
        splits, limit = set(grows["splits"]), grows["limit"]
        factors = Factors(**grows["factors"]) if grows["factors"] else None
        if not isinstance(fixed, dict) or not (limit is None or isinstance(limit, int)):
            raise ValueError
        if factors and not (isinstance(factors.rank, int) and factors.dtype in DTYPES):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PipelineError("the output's description .build/job.json is damaged; --overwrite builds it anew") from None
    for key, now in wanted.fixed().items():
        if fixed.get(key) != now:
            raise PipelineError(
                f"the output is of another job: its {key} is {fixed.get(key)!r}, not {now!r}; "
                "choose another --out, or --overwrite to build it anew"
            )
    for split in (name for name in index.splits if name in splits):
        entries = len(index.splits[split])
        if min(wanted.limit or entries, entries) < min(limit or entries, entries):
            raise PipelineError(
                f"the output already holds more than --limit {wanted.limit} images of {split}; "
                "a limit can only grow: choose another --out, or --overwrite to build it anew"
            )
    return replace(
        wanted,
        verified=wanted.verified and bool(verified),
        variants=canonical(variants + list(wanted.variants)),
        splits=tuple(split for split in index.splits if split in splits or split in wanted.splits),
        limit=wanted.limit,
        factors=_grown_factors(factors, wanted.factors),
    )


def _grown_factors(old: Factors | None, wanted: Factors | None) -> Factors | None:
    if old and wanted and (wanted.rank > old.rank or wanted.dtype != old.dtype):
        raise PipelineError(
            f"the output already holds {old.dtype} factors up to rank {old.rank}, not {wanted.dtype} up to {wanted.rank}; "
            "leave --factors out to keep them, or --overwrite to build it anew"
        )
    return old or wanted
