"""Opens a finished output for reading: its variants, splits, classes and shards, from ``manifest.json``.

The manifest is untrusted text. A field that a build would not write is refused with one line, and no name in it can lead
out of the output's folder.
"""

import contextlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import PipelineError, UsageError, nearest, one_line
from pipeline.numerics.variants import SIGNED

NAME = "manifest.json"
BUILD = ".build"
FORMATS = (1, 2)
FORMS = ("png", "npy")
_SIZES = ("rank", "above", "radius")
# Aliases of the split that is not trained on: each of them means the first that exists.
HELD_OUT = ("validation", "val", "test")
_LARGEST = 1 << 63  # limit of NumPy's int64 and of file sizes
_MAX_BYTES = 1 << 29  # of a manifest; that of ImageNet with eight variants has 7 MB


def split_name(split: str, splits: Collection[str]) -> str | None:
    """Returns the name in ``splits`` that ``split`` means, by itself or as an alias; None if there is none."""
    if split in splits:
        return split
    return next((name for name in HELD_OUT if name in splits), None) if split in HELD_OUT else None


@dataclass(frozen=True)
class Shard:
    """One tar of a part.

    Attributes:
        path: of the tar; its index has the same name with ``.idx``.
        size: bytes.
        samples: number of samples.
    """

    path: Path
    size: int
    samples: int

    @property
    def index(self) -> Path:
        return self.path.with_suffix(".idx")


@dataclass(frozen=True)
class Part:
    """One variant of one split. Its shards exist and have the sizes that the manifest states.

    Attributes:
        root: folder of the output.
        variant: name of the variant.
        split: name of the split in the output, even if an alias was requested.
        component: ``low``, ``high``, ``band``, ``lowpass``, ``highpass`` or ``full``.
        rank: rank of the cut; for a band, its upper end; 0 if the component has no rank.
        above: lower end of a band, else 0.
        radius: radius of a cut by Fourier frequencies, else 0.
        form: format of the images, ``png`` (8-bit RGB) or ``npy`` (float32 (h, w, 3)).
        shape: (height, width) of every image in pixels; None if the images differ in size.
        classes: class names; the position is the label.
        shards: tars, in the output's order.
        labels: file with key and label of every sample; None if it is missing.
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
        """Whether the images are signed: in PNG, grey level 128 means zero."""
        return self.component in SIGNED

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)


@dataclass(frozen=True)
class Output:
    """A finished output.

    Attributes:
        root: folder of the output.
        variants: names of the variants.
        splits: names of the splits, without aliases.
        classes: class names; the position is the label.
        shape: (height, width) of every image in pixels; None if the images differ in size.
        factors: largest rank in ``factors.zarr``; None if the output has no factors.
        manifest: content of ``manifest.json``: untrusted text.
    """

    root: Path
    variants: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    shape: tuple[int, int] | None
    factors: int | None
    manifest: Mapping[str, Any] = field(repr=False)  # megabytes, too long for a notebook

    def part(self, variant: str, split: str) -> Part:
        """Returns one variant of one split.

        Args:
            variant: name of the variant, or of its folder.
            split: name of a split. A name that does not exist among ``validation``, ``val`` and ``test`` means the first of
                them that exists.

        Raises:
            UsageError: the output has no such variant or split; the message lists those it has.
            PipelineError: a shard is missing or has another size, or the manifest is damaged.
        """
        if isinstance(variant, str):
            variant = variant.removeprefix(f"{self.manifest.get('name')}-")  # a folder's name, which other clients use
        if variant not in self.variants:
            raise UsageError(_unknown("variant", variant, self.variants, self.root))
        with _reading(self.root):
            return self._part(variant, self._split(split))

    def _part(self, variant: str, split: str) -> Part:
        where = f"variant {variant}"
        described = _get(self.manifest["variants"], variant, dict)
        form = described.get("form", "png")
        if form not in FORMS:
            raise _Damaged(f"{where} has the form {_printable(form)}, which this program does not read")
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
        name = split_name(split, self.splits)
        if name is None:
            raise UsageError(_unknown("split", split, self.splits, self.root))
        return name

    def _shard(self, raw: Any, where: str) -> Shard:
        if not isinstance(raw, dict):
            raise _Damaged(f"a shard of {where} is not an object")
        name = _inside(_get(raw, "name", str, where))
        if not name.endswith(".tar"):
            raise _Damaged(f"{where} has the shard {_printable(name)}, which is not a tar")
        shard = Shard(self.root / name, _get(raw, "bytes", int, where), _get(raw, "samples", int, where))
        try:
            status = os.stat(shard.path)
        except OSError as error:
            raise PipelineError(f"{shard.path}: {error.strerror}; copy the output again, or build it again") from None
        if not stat.S_ISREG(status.st_mode):
            raise PipelineError(f"{shard.path} is not a regular file; copy the output again, or build it again")
        if status.st_size != shard.size:
            raise PipelineError(
                f"{shard.path} has {status.st_size:,} bytes, but {NAME} says {shard.size:,}: "
                "copy the output again, or build it again"
            )
        return shard


def open_output(root: str | os.PathLike[str]) -> Output:
    """Opens the finished output in the folder ``root``.

    Raises:
        PipelineError: the folder holds no output, the output is unfinished, or its manifest is damaged.
    """
    folder = Path(os.path.abspath(root))  # a DataLoader worker may have another working directory
    with _reading(folder):
        return _opened(folder, _read(folder))


def _opened(folder: Path, raw: dict[str, Any]) -> Output:
    if raw.get("format") not in FORMATS:
        formats = " and ".join(map(str, FORMATS))
        raise PipelineError(f"{folder / NAME} has format {_printable(raw.get('format'))}; this program reads {formats}")
    image, classes = _get(raw, "image", dict), _get(raw, "classes", list)
    if not all(isinstance(name, str) for name in classes):
        raise _Damaged("the name of a class is not text")
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
        raise _Damaged(f"it is not JSON ({_printable(error)})") from None
    if not isinstance(raw, dict):
        raise _Damaged("it is not a JSON object")
    return raw


def _no_manifest(folder: Path) -> str:
    """Returns why a folder without a manifest cannot be opened, and which folder to give instead."""
    if not folder.exists():
        return f"{folder} does not exist; give the folder that pipeline.build wrote"
    if not folder.is_dir():
        return f"{folder} is a file; give the folder that pipeline.build wrote"
    if (folder / BUILD).is_dir():
        return f"{folder} is an unfinished output: it has no {NAME}; run its build again to finish it"
    above = Path(os.path.abspath(folder)).parent
    if (above / NAME).is_file():
        return f"{folder} is one variant's folder; give the output, {above}, and name the variant"
    return f"{folder} is not an output: it has no {NAME}; give the folder that pipeline.build wrote"


def _unknown(kind: str, value: object, existing: tuple[str, ...], root: Path) -> str:
    hint = nearest(value, existing) if isinstance(value, str) else ""
    return f"{kind} {_printable(repr(value))}: {root} has {', '.join(existing) or 'none'}{hint}"


class _Damaged(Exception):
    """The manifest is not what a build writes; the message says where."""


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turns ``_Damaged`` into a PipelineError that names the manifest."""
    try:
        yield
    except _Damaged as error:
        raise PipelineError(f"{folder / NAME} is damaged: {error}; copy or build the output again") from None


_KINDS = {int: "a whole number", str: "text", dict: "an object", list: "a list"}


def _get(where: Mapping[str, Any], key: str, kind: type[Any], of: str = "") -> Any:
    """Returns a field, if it has the type ``kind``. Integers must be from 0 to ``_LARGEST``."""
    value = where.get(key)
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < _LARGEST):
        name = f"{key} of {of}" if of else key
        raise _Damaged(f"{_printable(name)} is {f'not {_KINDS[kind]}' if key in where else 'missing'}")
    return value


def _inside(name: str) -> str:
    """Returns a name, if it is a relative path inside of the output."""
    plain = name.isprintable() and "\\" not in name and str(PurePosixPath(name)) == name
    if not plain or name.startswith("/") or {"", ".", ".."} & {*name.split("/")}:
        raise _Damaged(f"it names {_printable(repr(name))}, which is not a place inside the output")
    return name


def _plain(name: str) -> str:
    if "/" in _inside(name):
        raise _Damaged(f"it names {_printable(repr(name))} where a plain name is expected")
    return name


def _printable(text: object) -> str:
    """Returns untrusted text on one line, cut after 100 characters."""
    return one_line(str(text)[:100])
