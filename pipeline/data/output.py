"""An output opened for reading: its variants, splits, classes and shards, from ``manifest.json``.

The manifest is text that anybody may have edited: what is not as a builder writes it is refused in one line, and no name
in it leads out of the output.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import PipelineError, UsageError, nearest, one_line
from pipeline.numerics.variants import SIGNED

NAME = "manifest.json"
BUILD = ".build"
FORMAT = 1
FORMS = ("png", "npy")
_SIZES = ("rank", "above", "radius")
# Names of a split that is not trained on: the first that exists answers to all of them.
HELD_OUT = ("validation", "val", "test")
_LARGEST = 1 << 63  # what NumPy and file systems take
_MAX_BYTES = 1 << 29  # of a manifest; one of ImageNet with eight variants has 7 MB


@dataclass(frozen=True)
class Shard:
    """One tar of a part: its path, bytes, and number of samples. Its index lies beside it, ``.idx`` for ``.tar``."""

    path: Path
    size: int
    samples: int

    @property
    def index(self) -> Path:
        return self.path.with_suffix(".idx")


@dataclass(frozen=True)
class Part:
    """One variant of one split, its shards in place and of the sizes that the manifest claims.

    Attributes:
        split: the split's name in the output, also where an alias was asked for.
        component: ``low``, ``high``, ``band``, ``lowpass``, ``highpass`` or ``full``.
        rank: of a band, its upper end; 0 for none.
        above, radius: the lower end of a band, and the radius of frequencies that were cut; 0 for none.
        form: of its images, ``png`` (8-bit RGB) or ``npy`` (float32 (h, w, 3)).
        shape: (height, width) of every image, pixels; None where they differ.
        classes: names, position = label.
        labels: the file that lists key and label of every output position, where there is one.
    """

    root: Path
    variant: str
    split: str
    component: str
    rank: int
    above: int
    radius: int
    form: str
    shape: tuple[int, int] | None
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    labels: Path | None

    @property
    def signed(self) -> bool:
        """Whether grey level 128 of its PNG images stands for nothing."""
        return self.component in SIGNED

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)


@dataclass(frozen=True)
class Output:
    """A finished output.

    Attributes:
        variants: their names.
        splits: their names, without aliases.
        classes: names, position = label.
        shape: (height, width) of every image, pixels; None where they differ.
        factors: the largest rank of ``factors.zarr``; None where the output keeps none.
        manifest: as read; text that anybody may have edited.
    """

    root: Path
    variants: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    shape: tuple[int, int] | None
    factors: int | None
    manifest: Mapping[str, Any] = field(repr=False)  # megabytes, which a notebook would show

    def part(self, variant: str, split: str) -> Part:
        """One variant of one split.

        Args:
            split: a split's name; ``validation``, ``val`` and ``test`` stand for each other where only one exists, else
                for the first of them that does.

        Raises:
            UsageError: there is no such variant or split; the line names those that there are.
            PipelineError: a shard is missing or has another size, or the manifest is damaged.
        """
        if isinstance(variant, str):
            variant = variant.removeprefix(f"{self.manifest.get('name')}-")  # a folder's name, as other clients know it
        if variant not in self.variants:
            raise UsageError(_unknown("variant", variant, self.variants, self.root))
        with _reading(self.root):
            return self._part(variant, self._split(split))

    def _part(self, variant: str, split: str) -> Part:
        where = f"variant {variant}"
        described = _get(self.manifest["variants"], variant, dict)
        form = described.get("form", "png")
        if form not in FORMS:
            raise _Damaged(f"{where} has the form {_shown(form)}, which this program does not read")
        inside = _get(_get(described, "splits", dict, where), split, dict, where)
        shards = tuple(self._shard(raw, f"{where}, {split}") for raw in _get(inside, "shards", list, where))
        labels = self.root / "samples" / f"{split}.jsonl"
        return Part(
            root=self.root,
            variant=variant,
            split=split,
            component=_get(described, "component", str, where),
            **{size: _get(described, size, int, where) if size in described else 0 for size in _SIZES},
            form=form,
            shape=self.shape,
            classes=self.classes,
            shards=shards,
            labels=labels if labels.is_file() else None,
        )

    def _split(self, split: str) -> str:
        if split in self.splits:
            return split
        found = [name for name in HELD_OUT if name in self.splits]
        if split in HELD_OUT and found:
            return found[0]
        raise UsageError(_unknown("split", split, self.splits, self.root))

    def _shard(self, raw: Any, where: str) -> Shard:
        if not isinstance(raw, dict):
            raise _Damaged(f"a shard of {where} is no object")
        name = _inside(_get(raw, "name", str, where))
        if not name.endswith(".tar"):
            raise _Damaged(f"{where} has the shard {_shown(name)}, which is no tar")
        shard = Shard(self.root / name, _get(raw, "bytes", int, where), _get(raw, "samples", int, where))
        try:
            status = os.stat(shard.path)
        except OSError as error:
            raise PipelineError(f"{shard.path}: {error.strerror}; copy the output again, or build it again") from None
        if not stat.S_ISREG(status.st_mode):
            raise PipelineError(f"{shard.path} is not a regular file; copy the output again, or build it again")
        if status.st_size != shard.size:
            raise PipelineError(
                f"{shard.path} has {status.st_size:,} bytes, {NAME} says {shard.size:,}: "
                "copy the output again, or build it again"
            )
        return shard


def open_output(root: str | os.PathLike[str]) -> Output:
    """Open the output in the folder ``root``.

    Raises:
        PipelineError: there is none, it is not finished, or its manifest is damaged.
    """
    folder = Path(os.path.abspath(root))  # a loader's worker may work elsewhere
    with _reading(folder):
        return _opened(folder, _read(folder))


def _opened(folder: Path, raw: dict[str, Any]) -> Output:
    if raw.get("format") != FORMAT:
        raise PipelineError(f"{folder / NAME} has format {_shown(raw.get('format'))}; this program reads {FORMAT}")
    image, classes = _get(raw, "image", dict), _get(raw, "classes", list)
    if not all(isinstance(name, str) for name in classes):
        raise _Damaged("a class has no text for a name")
    sizes = (image.get("height"), image.get("width"))
    return Output(
        root=folder,
        variants=tuple(map(_plain, _get(raw, "variants", dict))),
        splits=tuple(map(_plain, _get(raw, "splits", dict))),
        classes=tuple(classes),
        shape=None if sizes == (None, None) else (_get(image, "height", int), _get(image, "width", int)),
        factors=_get(raw["factors"], "rank", int, "factors") if isinstance(raw.get("factors"), dict) else None,
        manifest=raw,
    )


def _read(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    try:
        if not path.is_file():
            raise PipelineError(_no_manifest(folder))
        if path.stat().st_size > _MAX_BYTES:
            raise _Damaged("it is larger than any manifest")
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise _Damaged(f"it is no JSON ({_shown(error)})") from None
    if not isinstance(raw, dict):
        raise _Damaged("it describes nothing")
    return raw


def _no_manifest(folder: Path) -> str:
    """Why a folder without a manifest is not the one to open, and which one is."""
    if not folder.exists():
        return f"{folder} does not exist; give the folder that pipeline.build wrote"
    if not folder.is_dir():
        return f"{folder} is a file; give the folder that pipeline.build wrote"
    if (folder / BUILD).is_dir():
        return f"{folder} is an unfinished output: it has no {NAME}; run its build again to finish it"
    above = Path(os.path.abspath(folder)).parent
    if (above / NAME).is_file():
        return f"{folder} is one variant's folder; give the output, {above}, and name the variant"
    return f"{folder} is no output: it has no {NAME}; give the folder that pipeline.build wrote"


def _unknown(what: str, given: object, there: tuple[str, ...], root: Path) -> str:
    close = nearest(given, there) if isinstance(given, str) else ""
    return f"{what} {_shown(repr(given))}: {root} has {', '.join(there) or 'none'}{close}"


class _Damaged(Exception):
    """The manifest is not what a builder writes; the text says where."""


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """What is damaged, told with the folder. Raises PipelineError."""
    try:
        yield
    except _Damaged as error:
        raise PipelineError(f"{folder / NAME} is damaged: {error}; copy or build the output again") from None


_KINDS = {int: "whole number", str: "text", dict: "object", list: "list"}


def _get(where: Mapping[str, Any], key: str, kind: type[Any], of: str = "") -> Any:
    """A field of the wanted type; whole numbers are never negative, and below ``_LARGEST``."""
    value = where.get(key)
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < _LARGEST):
        name = f"{key} of {of}" if of else key
        raise _Damaged(f"{_shown(name)} is {f'no {_KINDS[kind]}' if key in where else 'missing'}")
    return value


def _inside(name: str) -> str:
    """A name, if it is a relative path that stays in the output."""
    plain = name.isprintable() and "\\" not in name and str(PurePosixPath(name)) == name
    if not plain or name.startswith("/") or {"", ".", ".."} & {*name.split("/")}:
        raise _Damaged(f"it names {_shown(repr(name))}, which is no place in the output")
    return name


def _plain(name: str) -> str:
    if "/" in _inside(name):
        raise _Damaged(f"it names {_shown(repr(name))} where a plain name belongs")
    return name


def _shown(text: object) -> str:
    """Hostile text on one line, cut after 100 characters."""
    return one_line(str(text)[:100])
