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
    """A build as the user asked for it. ``Job.parse`` makes it and has checked every field.

    Fields are the options (``options.py``) of the same name, except that ``variants`` stands for ``ranks``, ``bands``,
    ``radii``, ``components`` and ``exact``. None means that the source decides. What depends on the source (which splits
    exist, whether a rank fits the images) is checked by ``output_spec.resolve``.
    """

    dataset: str
    name: str
    out: Location
    variants: tuple[Variant, ...]
    data_dir: Path | None = None
    image_key: str | None = None
    label_key: str | None = None
    classes: Path | None = None
    splits: tuple[str, ...] | None = None
    resize: int | str | None = None
    crop: int | str | None = None
    order: str | None = None
    seed: int = 0
    samples_per_shard: int | None = None
    shards_divisible_by: int | None = None
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
        """Returns the job of raw option values, by option name: strings from flags, YAML scalars and lists from a file.

        Raises:
            UsageError: what was given, what is allowed, and the nearest valid spelling.
        """
        for name in options:
            if name not in OPTIONS:
                raise UsageError(f"unknown option {name!r}{nearest(name, OPTIONS)}; known: {', '.join(OPTIONS)}")
        values = {name: OPTIONS[name].parse(name, raw) for name, raw in options.items() if raw is not None}
        _check_pairs(values)
        values.setdefault("dataset", "sample")
        values.setdefault("name", values["dataset"])
        values.setdefault("out", Path("out") / values["name"])
        if values.get("factors"):
            values["factors"] = Factors(max(values["ranks"]), values["factors"])
        cuts = {name: values.pop(name, None) for name in ("ranks", "components", "exact", "bands", "radii")}
        values["variants"] = variants(
            cuts["ranks"] or (),
            cuts["components"] or ("low", "high"),
            bool(cuts["exact"]),
            cuts["bands"] or (),
            cuts["radii"] or (),
        )
        return cls(**{name.replace("-", "_"): value for name, value in values.items()})


def _check_pairs(values: dict[str, Any]) -> None:
    """Raises UsageError if options do not go together, or one is missing that another needs."""
    components, ranks, bands, radii, exact, factors = (
        values.get(name) for name in ("components", "ranks", "bands", "radii", "exact", "factors")
    )
    if not (ranks or radii) and (not bands if components is None else components != ("full",)):
        raise UsageError("ranks: none given; say which to cut at, as in --ranks 3,5,10,20")
    for name, useless in (("radii", radii), ("exact", exact and not bands)):
        if useless and components == ("full",):
            raise UsageError(f"{name}: goes with the components low or high; full is the untouched image already")
    if factors and not ranks:
        raise UsageError("factors: are kept up to the largest rank; say which, as in --ranks 3,5,10,20")
    if values.get("address") not in (None, "local") and values.get("workers") == 0:
        raise UsageError("workers: 0 builds in this process, which does not go with --address; leave one of them out")
    if values.get("device") == "cpu" and "gpus" in values:
        raise UsageError("gpus: does not go with --device cpu; leave one of them out")
