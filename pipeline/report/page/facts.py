"""Reads what an output records about itself: manifest, rejects, class counts and the log of its builds."""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.output import BUILD, NAME, Output
from pipeline.errors import PipelineError, one_line
from pipeline.numerics.variants import Variant
from pipeline.planning.shard_task import STAGES
from pipeline.storage.files import read_regular

REJECTS_SHOWN = 200
_MAX_BYTES = 1 << 26  # of rejects.jsonl and of runs.jsonl


@dataclass(frozen=True)
class VariantFacts:
    """A variant, over all splits.

    Attributes:
        clipped: share of subpixels outside of 0..255 before clipping; None for a variant that is never clipped.
        mean: of the pixels, by channel.
        std: of the pixels, by channel.
        digest: SHA-256 over the SHA-256 of its shards, as in the dataset card.
    """

    name: str
    cut: Variant
    samples: int
    bytes: int
    shards: int
    clipped: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str


@dataclass(frozen=True)
class Work:
    """A finished run of a build.

    Attributes:
        images: number of images it built.
        wall: seconds.
        seconds: by stage, summed over all workers.
    """

    images: int
    wall: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Facts:
    """The facts that a report shows as text and tables.

    Attributes:
        manifest: content of ``manifest.json``: untrusted text.
        digest: SHA-256 of ``manifest.json``.
        counts: by split, int64 (classes,): images of each class.
        rejects: (key, name, reason) of the first ``REJECTS_SHOWN`` rejected images.
        reasons: number of rejected images by reason.
        work: finished runs in the output's log; None without a log.
    """

    manifest: Mapping[str, Any]
    digest: str
    classes: tuple[str, ...]
    variants: tuple[VariantFacts, ...]
    counts: dict[str, np.ndarray]
    rejects: tuple[tuple[str, str, str], ...]
    reasons: tuple[tuple[str, int], ...]
    work: tuple[Work, ...] | None

    @property
    def rejected(self) -> int:
        """Number of rejected images, from the manifest: the list of rejects may not have been copied."""
        return int(sum(split["rejects"] for split in self.manifest["splits"].values()))

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted({v.cut.rank for v in self.variants if v.cut.component in ("low", "high")}))


def collect(output: Output, labels: Mapping[str, Sequence[int]]) -> Facts:
    """Returns the facts of an output.

    Args:
        output: the output.
        labels: labels of all samples, by split.

    Raises:
        PipelineError: the manifest, the list of rejects or the log is damaged.
    """
    rejects = list(_lines(output.root / "rejects.jsonl"))
    try:
        return Facts(
            output.manifest,
            hashlib.sha256((output.root / NAME).read_bytes()).hexdigest(),
            tuple(map(one_line, output.classes)),
            tuple(_variant(name, output.manifest["variants"][name]) for name in output.variants),
            {split: np.bincount(np.array(of, np.int64), minlength=len(output.classes)) for split, of in labels.items()},
            tuple(tuple(one_line(line[key]) for key in ("key", "name", "reason")) for line in rejects[:REJECTS_SHOWN]),  # type: ignore[misc]
            tuple(Counter(one_line(line["reason"]) for line in rejects).most_common()),
            _work(output.root / BUILD / "runs.jsonl"),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise PipelineError(
            f"{output.root / NAME} is damaged ({type(error).__name__}: {one_line(error)}); copy or build the output again"
        ) from None


def _variant(name: str, described: Mapping[str, Any]) -> VariantFacts:
    splits = described["splits"].values()
    shards = [shard for split in splits for shard in split["shards"]]
    digest = hashlib.sha256(b"".join(bytes.fromhex(shard["sha256"]) for shard in shards))
    samples, subpixels = (int(sum(split[key] for split in splits)) for key in ("samples", "subpixels"))
    weights = [split["subpixels"] / max(1, subpixels) for split in splits]
    with np.errstate(all="ignore"):  # JSON can hold NaN and infinity
        mean = np.sum([w * np.array(split["mean"]) for w, split in zip(weights, splits, strict=True)], axis=0)
        squares = [np.square(split["std"]) + np.square(split["mean"]) for split in splits]
        square = np.sum([w * each for w, each in zip(weights, squares, strict=True)], axis=0)
    if not (np.isfinite(mean).all() and np.isfinite(square).all()):
        raise ValueError(f"mean or std of {name} is not finite")
    cut = Variant.parse(name)
    clips = cut.component != "full" and not cut.exact
    return VariantFacts(
        name=name,
        cut=cut,
        samples=samples,
        bytes=int(sum(split["bytes"] for split in splits)),
        shards=len(shards),
        clipped=sum(split["clipped"] for split in splits) / max(1, subpixels) if clips else None,
        mean=tuple(mean.tolist()),
        std=tuple(np.sqrt(np.maximum(0, square - mean**2)).tolist()),
        digest=digest.hexdigest(),
    )


def _work(path: Path) -> tuple[Work, ...] | None:
    if not path.is_file():
        return None
    runs = []
    for line in path.read_bytes().splitlines() if path.stat().st_size <= _MAX_BYTES else ():
        # A crash can leave an incomplete line in the log; the other lines are still shown.
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
            run = json.loads(line)
            if run["event"] == "finished" and run["images"]:
                seconds = {stage: float(run["seconds"][stage]) for stage in STAGES}
                runs.append(Work(int(run["images"]), float(run["working"]), seconds))
    return tuple(runs)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON lines file; a missing file has none."""
    try:
        lines = read_regular(path, _MAX_BYTES).splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}") from None
    for line in lines:
        try:
            parsed = json.loads(line)
        except (ValueError, RecursionError):
            raise PipelineError(f"{path} is damaged; copy the output again, or build it again") from None
        if isinstance(parsed, dict):
            yield parsed
