"""``Job``: the frozen, validated description of a build, from flags or a job file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, nearest
from pipeline.formats.factors import Factors
from pipeline.numerics.variants import Variant, variants
from pipeline.planning.options import OPTIONS
from pipeline.storage.location import Location


@dataclass(frozen=True)
class Job:
    """What the user asked for. Built by ``Job.parse``; every field has been checked on its own.

    What depends on the source (which splits exist, whether a rank fits the images) is checked by ``content.resolve``.
    """

    dataset: str
    name: str
    out: Location
    variants: tuple[Variant, ...]
    data_dir: Path | None = None
    label_key: str | None = None
    classes: Path | None = None
    splits: tuple[str, ...] | None = None
    resize: int | str | None = None
    crop: int | str | None = None
    order: str | None = None
    seed: int = 0
    samples_per_shard: int | None = None
    limit: int | None = None
    device: str = "auto"
    gpus: int | None = None
    workers: int | None = None
    address: str | None = None
    max_rejects: int = 0
    stall: int = 120
    allow_unverified: bool = False
    overwrite: bool = False
    factors: Factors | None = None
    recheck: bool = False
    dry_run: bool = False
    quiet: bool = False
    log_json: str | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> "Job":
        """Check raw option values (strings from flags, YAML scalars and lists from a file), named as the flags are.

        Raises:
            UsageError: what was given, what is allowed, and the nearest valid spelling.
        """
        for key in options:
            if key not in OPTIONS:
                raise UsageError(f"unknown option {key!r}{nearest(key, OPTIONS)}; known: {', '.join(OPTIONS)}")
        given = {key: OPTIONS[key](key, value) for key, value in options.items() if value is not None}
        dataset = given.pop("dataset", "sample")
        name = given.pop("name", dataset)
        cuts, ranks = _cuts(given)
        dtype = given.pop("factors", None)
        if dtype and not ranks:
            raise UsageError("factors: are kept up to the largest rank; say which, as in --ranks 3,5,10,20")
        out = given.pop("out", Path("out") / name)
        factors = Factors(max(ranks), dtype) if dtype else None
        fields = {key.replace("-", "_"): value for key, value in given.items()}
        if given.get("address") not in (None, "local") and given.get("workers") == 0:
            raise UsageError(
                "workers: 0 builds in this process, which does not go with --address; leave one of them out"
            )
        if given.get("device") == "cpu" and "gpus" in given:
            raise UsageError("gpus: does not go with --device cpu; leave one of them out")
        return cls(dataset=dataset, name=name, out=out, variants=cuts, factors=factors, **fields)


def _cuts(given: dict[str, Any]) -> tuple[tuple[Variant, ...], tuple[int, ...]]:
    """The variants that options ask for, which are taken away from them, and the ranks. Raises UsageError."""
    components, ranks, bands, radii, exact = (
        given.pop(key, None) for key in ("components", "ranks", "bands", "radii", "exact")
    )
    if not (ranks or radii) and (not bands if components is None else components != ("full",)):
        raise UsageError("ranks: none given; say which to cut at, as in --ranks 3,5,10,20")
    for key, useless in (("radii", radii), ("exact", exact and not bands)):
        if useless and components == ("full",):
            raise UsageError(f"{key}: goes with the components low or high; full is the untouched image already")
    return variants(ranks or (), components or ("low", "high"), bool(exact), bands or (), radii or ()), ranks or ()
