"""The specification of an output: everything that its bytes depend on, and how it may grow."""

import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.errors import PipelineError, UsageError, nearest
from pipeline.formats.factors import DTYPES, Factors
from pipeline.formats.sealed_json import seal, unseal
from pipeline.numerics.geometry import MAX_SIDE, Geometry
from pipeline.numerics.variants import OFFSET, Variant, canonical
from pipeline.planning.job import Job
from pipeline.planning.shard_size import divisible_size
from pipeline.sources import options_of_reading
from pipeline.sources.index import SourceIndex
from pipeline.sources.shapes import Shapes
from pipeline.sources.splits import in_source

# Version of the names, the structure and the bytes of the files (docs/format.md), and the versions of this program that
# wrote earlier ones.
FORMAT = 2
WRITTEN_BY = {1: "0.1"}
# Version of the numerical contract (docs/numerics.md). It changes if a pixel would change.
NUMERICS = 1
ENCODER = "png average/none, Huffman codes of 14 bits, blocks of 32 KB"  # formats.png; another one writes other bytes


# Sources whose names of files and folders earlier versions of this program understood differently.
_RULES_CHANGED = ("imagenet", "folder", "webdataset")


@dataclass(frozen=True)
class Content:
    """What an output holds. It is stored with the output, in ``.build/job.json``.

    ``variants``, ``splits``, ``limit`` and ``factors`` may grow. A change of any other field makes another output.

    Attributes:
        fingerprint: of the source.
        verified: whether the source's checksums are the official ones; None if they were not compared.
        geometry: resizing and cropping of the images.
        shape: (height, width) of every image, pixels; None if they differ.
        side: min(height, width) of the image for which it is largest, pixels.
        limit: number of output positions of each split that are built; None for all.
        factors: the stored factors; None if there are none.
    """

    name: str
    dataset: str
    fingerprint: str
    verified: bool | None
    geometry: Geometry
    shape: tuple[int, int] | None
    side: int
    order: str
    seed: int
    samples_per_shard: int
    variants: tuple[Variant, ...]
    splits: tuple[str, ...]
    limit: int | None
    factors: Factors | None

    def fixed(self) -> dict[str, Any]:
        """Returns what may not change, by names that users know."""
        return {
            "format": FORMAT,
            "numerics": NUMERICS,
            "encoder": ENCODER,
            "high-rank offset": OFFSET,
            "name": self.name,
            "dataset": self.dataset,
            "source fingerprint": self.fingerprint,
            "geometry": str(self.geometry),
            "image size": list(self.shape) if self.shape else f"smaller sides up to {self.side}",
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
        return seal({"fixed": self.fixed(), "verified": self.verified, "grows": grows}, indent=1)


def geometry_of(job: Job, default: Geometry) -> Geometry:
    """Returns the resizing and cropping of a job; ``--resize`` alone means a square of that side.

    Args:
        default: of the source.

    Raises:
        UsageError: a crop without a resize, or larger than it.
    """
    resize = default.resize if job.resize is None else None if job.resize == "native" else int(job.resize)
    if job.crop is None:
        crop = default.crop if job.resize is None else resize
    else:
        crop = None if job.crop == "none" else int(job.crop)
    if crop and (resize is None or crop > resize):
        raise UsageError(f"crop: {crop} needs a --resize of at least as much")
    return Geometry(resize, crop)


def resolve(job: Job, index: SourceIndex, default_order: str, geometry: Geometry, shapes: Shapes) -> Content:
    """Returns the content that a job asks for, with the source's defaults filled in.

    Raises:
        UsageError: the source lacks a split, its images are too small for a rank or radius, or the seed has no use.
        PipelineError: a split is empty.
    """
    largest = (
        f"{shapes.shape[0]} x {shapes.shape[1]} images" if shapes.shape else f"images of up to {shapes.side} pixels"
    )
    for variant in (variant for variant in job.variants if variant.rank >= shapes.side):
        option = f"bands: {variant.above}:{variant.rank}" if variant.above else f"ranks: {variant.rank}"
        raise UsageError(f"{option} is too large for {largest}; {_allowed('rank', shapes.side - 1)}")
    if job.factors and job.factors.rank >= shapes.side:
        raise UsageError(f"factors: rank {job.factors.rank} is too large for {largest}")
    radius = max(variant.radius for variant in job.variants)
    if radius > shapes.radius:
        raise UsageError(f"radii: {radius} keeps every frequency of {largest}; {_allowed('radius', shapes.radius)}")
    if job.factors and shapes.shape is None:
        raise UsageError("factors: are kept of images of one size only; give them one with --resize and --crop")
    splits = [in_source(split, index.splits) for split in job.splits or index.splits]
    for split in splits if job.splits else ():
        if split not in index.splits:
            raise UsageError(
                f"splits: {split!r} is not in the source{nearest(split, index.splits)}; it has {', '.join(index.splits)}"
            )
        if not len(index.splits[split]):
            raise PipelineError(f"splits: {split} of the source holds no images")
    splits = [split for split in index.splits if split in splits and index.splits[split].names]
    size = job.samples_per_shard or (1250 if max(shapes.shape or (shapes.side,)) <= 64 else 1000)
    if job.shards_divisible_by:
        entries = {split: min(len(index.splits[split]), job.limit or sys.maxsize) for split in splits}
        size = divisible_size(size, entries, job.shards_divisible_by)
    order = job.order or default_order
    if job.seed and order != "shuffled":
        default = "" if job.order else f", which {job.dataset} has by default"
        raise UsageError(f"seed: {job.seed} does not go with the source's order{default}; add --order shuffled")
    return Content(
        name=job.name,
        dataset=job.dataset,
        fingerprint=index.fingerprint(),
        verified=index.verified,
        geometry=geometry,
        shape=shapes.shape,
        side=shapes.side,
        order=order,
        seed=job.seed,
        samples_per_shard=size,
        variants=job.variants,
        splits=tuple(splits),
        limit=job.limit,
        factors=job.factors,
    )


def _allowed(kind: str, most: int) -> str:
    return f"a {kind} must be from 1 to {most}" if most else f"they have no smaller {kind}, only --components full goes"


def grow(existing: bytes, requested: Content, index: SourceIndex) -> Content:
    """Returns the content that holds both what an output has and what is requested.

    An output always holds every variant in every split up to the limit.

    Args:
        existing: the output's ``job.json``, as ``Content.to_json`` wrote it.

    Raises:
        PipelineError: ``existing`` is damaged, or differs from the request in something that cannot grow.
    """
    try:
        old = unseal(existing)
        fixed, grows, verified = old["fixed"], old["grows"], old["verified"]
        variants = [Variant.parse(name) for name in grows["variants"]]
        splits, limit = set(grows["splits"]), grows["limit"]
        factors = Factors(**grows["factors"]) if grows["factors"] else None
        if not isinstance(fixed, dict) or not (limit is None or (type(limit) is int and limit > 0)):
            raise ValueError
        if any(variant.rank >= MAX_SIDE for variant in variants):
            raise ValueError
        if factors and not (type(factors.rank) is int and 0 < factors.rank < MAX_SIDE and factors.dtype in DTYPES):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PipelineError(
            "the output's description .build/job.json is damaged; --overwrite builds it again"
        ) from None
    check_format(fixed.get("format"))
    for key, value in requested.fixed().items():
        if fixed.get(key) != value:
            reason = _source_reason(index, requested.dataset) if key == "source fingerprint" else ""
            raise PipelineError(
                f"the output is of another job: its {key} is {fixed.get(key)!r}, not {value!r}{reason}; "
                "choose another --out, or --overwrite to build it again"
            )
    for split in (name for name in index.splits if name in splits):
        entries = len(index.splits[split])
        if min(requested.limit or entries, entries) < min(limit or entries, entries):
            raise PipelineError(
                f"the output holds, or an unfinished build has begun, more than --limit {requested.limit} images of "
                f"{split}; "
                "a limit can only grow: leave it out or raise it, choose another --out, or --overwrite to build it again"
            )
    return replace(
        requested,
        verified=False if verified is False else requested.verified,
        variants=canonical(variants + list(requested.variants)),
        splits=tuple(split for split in index.splits if split in splits or split in requested.splits),
        limit=requested.limit,
        factors=_grown_factors(factors, requested.factors),
    )


def check_format(number: Any) -> None:
    """Refuses to change an output of an earlier format, with the version of this program that can. Raises PipelineError."""
    version = WRITTEN_BY.get(number) if type(number) is int else None
    if version:
        raise PipelineError(
            f"the output has format {number}, which this version of rank-shards reads and verifies but does not change: "
            f"continue or repair it with rank-shards {version}, or build it again with --overwrite or another --out"
        )


def _source_reason(index: SourceIndex, dataset: str) -> str:
    """Returns why the fingerprints of a source may differ although its files are the same."""
    options = options_of_reading(dataset)
    options = f" (was it built with other {options}?)" if options else ""
    if not index.readings or dataset not in _RULES_CHANGED:
        return options
    return (
        f"{options}. If the source has not changed, an earlier version built the output, with other labels or another "
        f"order: it did not know that {'; '.join(index.readings)}"
    )


def _grown_factors(old: Factors | None, requested: Factors | None) -> Factors | None:
    if old and requested and (requested.rank > old.rank or requested.dtype != old.dtype):
        raise PipelineError(
            f"the output already holds {old.dtype} factors up to rank {old.rank}, "
            f"not {requested.dtype} up to {requested.rank}; "
            "leave --factors out to keep them, or --overwrite to build it again"
        )
    return old or requested
