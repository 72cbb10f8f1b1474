"""What an output says of itself: manifest, rejects, class counts and the log of its builds."""

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
    """One variant over all splits.

    Attributes:
        clipped: share of its subpixels that left 0..255; None where nothing is clipped.
        digest: SHA-256 over its shards' SHA-256, as in the dataset card.
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
    """One run of a build: images it worked on, wall seconds, and worked seconds by stage over all workers."""

    images: int
    wall: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Facts:
    """What the report tells in words and tables. ``manifest`` is as it was read: text that anybody may have edited.

    Attributes:
        counts: by split, int64 (classes,): images of each class.
        rejects: (split's key, name, reason) of the first ``REJECTS_SHOWN`` rejects.
        reasons: how many images were rejected for each reason.
        work: of each run that the output's log knows; None where there is no log.
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
        """How many images were rejected, as the manifest counts them: the list of them may have been left behind."""
        return int(sum(split["rejects"] for split in self.manifest["splits"].values()))

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted({v.cut.rank for v in self.variants if v.cut.component in ("low", "high")}))


def collect(output: Output, labels: Mapping[str, Sequence[int]]) -> Facts:
    """Read what an output says of itself.

    Args:
        labels: of every sample, by split.

    Raises:
        PipelineError: a part of it is missing or damaged.
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
    with np.errstate(all="ignore"):  # JSON has numbers that are none
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
    found = []
    for line in path.read_bytes().splitlines() if path.stat().st_size <= _MAX_BYTES else ():
        # A log: a line that was torn by a crash is no reason to show nothing.
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
            run = json.loads(line)
            if run["event"] == "finished" and run["images"]:
                seconds = {stage: float(run["seconds"][stage]) for stage in STAGES}
                found.append(Work(int(run["images"]), float(run["working"]), seconds))
    return tuple(found)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines; one that is not there has none."""
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
