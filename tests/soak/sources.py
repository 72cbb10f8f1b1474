"""Small random sources, and edits of them.

An edit is ``visible`` if it changes an image, a label or the order. A build must notice it, and refuse to mix both sources.
"""

import io
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.trust.test_any_job import picture, write_folder

Edit = Callable[[random.Random, Path], None]

_SAMPLES = 9  # most samples of a WebDataset shard


class Source:
    """A source below a folder.

    Attributes:
        options: of a build from it.
        side: the shorter side of its images in pixels, or of most of them.
    """

    def __init__(self, draw: random.Random, folder: Path) -> None:
        self.folder = folder
        self._kind = draw.choice(["folder", "folder", "webdataset"])
        folder.mkdir(parents=True)
        self.side = write_folder(draw, folder) if self._kind == "folder" else _write_shards(draw, folder)
        self.options: dict[str, object] = {"dataset": self._kind, "data-dir": folder, "max-rejects": 100}

    def copy(self, to: Path) -> None:
        """Keeps the source as it is now."""
        shutil.copytree(self.folder, to)

    def restore(self, kept: Path) -> None:
        """Puts back what ``copy`` kept."""
        shutil.rmtree(self.folder)
        shutil.copytree(kept, self.folder)

    def edit(self, draw: random.Random, visible: bool) -> str:
        """Applies a random edit. Returns its name."""
        edits = {True: _VISIBLE, False: _INVISIBLE}[visible]
        name = draw.choice([name for name, (kinds, _) in edits.items() if self._kind in kinds])
        edits[name][1](draw, self.folder)
        return name


def _write_shards(draw: random.Random, folder: Path) -> int:
    """Writes WebDataset shards of one image size. Returns the shorter side."""
    size = draw.choice([(5, 5), (16, 16), (9, 17), (32, 32), (50, 20)])
    for split in draw.choice([["train"], ["train", "test"]]):
        for shard in range(draw.randint(1, 2)):
            with tarfile.open(folder / f"{split}-{shard:06d}.tar", "w") as tar:
                for number in range(draw.randint(1, _SAMPLES)):
                    content = io.BytesIO()
                    picture(draw, *size).save(content, "png")
                    key = f"{split}{shard}{number:04d}"
                    _add(tar, f"{key}.png", content.getvalue())
                    _add(tar, f"{key}.cls", str(draw.randint(0, 3)).encode())
    return min(size)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _images(folder: Path) -> list[Path]:
    """Returns all images or shards."""
    return [path for path in _files(folder) if path.name not in ("other.png", ".DS_Store", "Thumbs.db")]


def _repaint(draw: random.Random, folder: Path) -> None:
    """Replaces an image by another one of the same size in pixels, but not in bytes: a build compares only the latter."""
    path = draw.choice(_images(folder))
    before = path.stat().st_size
    with Image.open(path) as image:
        width, height = image.size
    content = io.BytesIO()
    picture(draw, height, width).save(content, "png")
    path.write_bytes(content.getvalue() + bytes(len(content.getvalue()) == before))


def _remove(draw: random.Random, folder: Path) -> None:
    draw.choice(_images(folder)).unlink()


def _add_image(draw: random.Random, folder: Path) -> None:
    path = draw.choice(_images(folder))
    picture(draw, 16, 16).save(path.with_name("0-new.png"))


def _add_class(draw: random.Random, folder: Path) -> None:
    for path in {path.parent.parent for path in _images(folder)}:
        (path / "Zebra").mkdir(exist_ok=True)
        picture(draw, 16, 16).save(path / "Zebra" / "0.png")


def _rewrite_shard(draw: random.Random, folder: Path) -> None:
    """Writes all samples of a shard again, with another label for the first."""
    path = draw.choice(_images(folder))
    with tarfile.open(path) as tar:
        members = [(each.name, tar.extractfile(each).read()) for each in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for number, (name, content) in enumerate(members):
            _add(tar, name, b"4" if number == 1 else content)


def _truncate_shard(draw: random.Random, folder: Path) -> None:
    path = draw.choice(_images(folder))
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(1, len(content))])


def _rename_nothing(draw: random.Random, folder: Path) -> None:
    """Copies a file over itself: another inode and another time."""
    path = draw.choice(_images(folder))
    other = path.with_name("copy-in-progress")
    shutil.copyfile(path, other)
    other.replace(path)


def _litter(draw: random.Random, folder: Path) -> None:
    """Leaves files of operating systems, which a source ignores."""
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    draw.choice(_images(folder)).with_name("Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")


_ALL, _FOLDER, _SHARDS = ("folder", "webdataset"), ("folder",), ("webdataset",)
_VISIBLE: dict[str, tuple[tuple[str, ...], Edit]] = {
    "another image in a file": (_FOLDER, _repaint),
    "a file removed": (_ALL, _remove),
    "a file added": (_FOLDER, _add_image),
    "a class added": (_FOLDER, _add_class),
    "another label in a shard": (_SHARDS, _rewrite_shard),
    "a shard cut off": (_SHARDS, _truncate_shard),
}
_INVISIBLE: dict[str, tuple[tuple[str, ...], Edit]] = {
    "a file copied over itself": (_ALL, _rename_nothing),
    "files of an operating system": (_ALL, _litter),
}
