"""The published copy of an output: the same files, with the date and the addresses in the manifest and in Croissant."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.formats.clients import croissant
from pipeline.planning.manifest import NAME, to_json


class CopiedFile(NamedTuple):
    """The claim of a file, and its content if it is another than in the output."""

    size: int
    sha256: str
    content: bytes | None = None


@dataclass(frozen=True)
class Copy:
    """What is uploaded: the files by name, the manifest included."""

    out: Path
    files: dict[str, CopiedFile]

    @classmethod
    def of(cls, out: Path, manifest: dict[str, Any], publication: dict[str, str]) -> "Copy":
        """Returns the copy of an output whose files have been checked.

        Args:
            manifest: the JSON of its manifest.
            publication: the value of ``published`` in the copy's manifest.
        """
        document = manifest | {"published": publication}
        files = {name: CopiedFile(claim["bytes"], claim["sha256"]) for name, claim in manifest["files"].items()}
        files |= {name: _copied(content) for name, content in croissant.files(document).items()}
        document["files"] = {name: {"bytes": file.size, "sha256": file.sha256} for name, file in sorted(files.items())}
        files[NAME] = _copied(to_json(document))
        return cls(out, files)

    def read(self, name: str) -> bytes:
        """Returns the content of a file."""
        content = self.files[name].content
        return (self.out / name).read_bytes() if content is None else content

    def stage(self, folder: str, names: Iterable[str], root: Path) -> Path:
        """Lays files of a folder out under ``root``, as links to the output. Returns the path of the folder."""
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = self.files[name].content
            if content is None:
                path.symlink_to((self.out / name).resolve())
            else:
                path.write_bytes(content)
        return root / folder


def _copied(content: bytes) -> CopiedFile:
    return CopiedFile(len(content), hashlib.sha256(content).hexdigest(), content)


def groups(files: Iterable[str]) -> dict[str, list[str]]:
    """Returns the names of files by their first folder. Those at the root, with the manifest, come last."""
    grouped: dict[str, list[str]] = {}
    for name in sorted(files):
        grouped.setdefault(name.partition("/")[0] if "/" in name else "", []).append(name)
    return {folder: grouped[folder] for folder in sorted(grouped, key=lambda folder: (not folder, folder))}
