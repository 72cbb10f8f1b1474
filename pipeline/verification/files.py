"""Compares every file of an output with its claimed size and SHA-256, and finds tars that the manifest does not list."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.storage.files import Bounded, IsLink, open_regular
from pipeline.verification.faults import Faults, printable
from pipeline.verification.manifest.claims import FileClaim, Manifest

INTACT, EDITED, TORN, LONG, ABSENT = "intact", "edited", "torn", "long", "absent"
# How far a file that is longer than claimed is read, to report its content.
SLACK = 1 << 20


class State(NamedTuple):
    """Whether a file is the claimed one.

    Attributes:
        kind: ``INTACT``, ``EDITED`` (other content), ``TORN`` (too short), ``LONG`` (by more than ``SLACK``), or ``ABSENT``
            (missing, unreadable, or another listed file).
        problem: what is wrong, for the user.
    """

    kind: str
    problem: str = ""


class Owners(NamedTuple):
    """The claimed files by their SHA-256, to find files that were swapped, and the sizes that they have."""

    names: dict[str, str]
    sizes: frozenset[int]


def owners_of(manifest: Manifest) -> Owners:
    claims = manifest.files
    return Owners({claim.sha256: name for name, claim in claims.items()}, frozenset(c.size for c in claims.values()))


class HashedFile(Bounded):
    """A file of an output that is hashed while it is read from its beginning to its end.

    Args:
        most: bytes that can be read; reading further raises ``TooLong``.

    Raises:
        OSError: the file is missing, is not a regular file, or cannot be read.
    """

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(open_regular(path, links=False), most)
        self._hash, self._size = hashlib.sha256(), 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self._hash.update(memoryview(buffer)[: count or 0])
        self._size += count or 0
        return count

    def is_claimed(self, claim: FileClaim) -> bool:
        """Returns whether the bytes read so far are the claimed file."""
        return claim == (self._size, self._hash.hexdigest())


def open_own(path: Path, most: int | None = None) -> io.BufferedReader:
    """Opens a file of an output, which must be a regular file and no link.

    Args:
        most: bytes that can be read; by default its present size. Reading further raises ``TooLong``.

    Raises:
        OSError: the file is missing, is not a regular file, or cannot be read.
    """
    file = open_regular(path, links=False)
    return io.BufferedReader(Bounded(file, os.fstat(file.fileno()).st_size if most is None else most), 1 << 18)


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file of an output, hexadecimal. Raises OSError."""
    with open_own(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def why(error: OSError) -> str:
    """Returns why a file of an output cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    return "is a link" if isinstance(error, IsLink) else f"cannot be read: {error.strerror or printable(error)}"


def state_of(root: Path, name: str, claim: FileClaim, owners: Owners) -> State:
    """Returns whether a file is the claimed one. A file of a size that no claimed file has is not read."""
    try:
        with open_own(root / name) as file:
            size = os.fstat(file.fileno()).st_size
            plausible = size == claim.size or size in owners.sizes
            digest = hashlib.file_digest(file, "sha256").hexdigest() if plausible else ""
    except OSError as error:
        return State(ABSENT, why(error))
    if digest == claim.sha256 and size == claim.size:
        return State(INTACT)
    if size and owners.names.get(digest, name) != name:  # an empty file is torn, not swapped with another empty file
        return State(ABSENT, f"swapped: it is {owners.names[digest]}")
    if size < claim.size:
        return State(TORN, f"torn: {size:,} of {claim.size:,} bytes")
    if size > claim.size:
        kind = LONG if size > claim.size + SLACK else EDITED
        return State(kind, f"{size:,} bytes, the manifest says {claim.size:,}")
    return State(EDITED, "differs from the manifest (SHA-256)")


def check_files(manifest: Manifest, names: list[str], owners: Owners) -> tuple[Faults, int]:
    """Compares files that are no part of a shard with their claims.

    Returns:
        the faults, and the bytes of the files that are as claimed.
    """
    faults, size = Faults(), 0
    for name in names:
        state = state_of(manifest.root, name, manifest.files[name], owners)
        if state.kind == INTACT:
            size += manifest.files[name].size
        else:
            faults.add(name, state.problem)
    return faults, size


def check_strays(manifest: Manifest, faults: Faults) -> None:
    """Reports tars in the variants' folders that the manifest does not list: patterns like ``*.tar`` would read them too."""
    for variant in manifest.variants:
        try:
            names = sorted(entry.name for entry in os.scandir(manifest.root / variant.folder))
        except OSError:
            continue  # its shards are then reported as missing
        for name in names:
            if name.endswith(".tar") and f"{variant.folder}/{name}" not in manifest.files:
                faults.add(
                    f"{variant.folder}/{name}",
                    f"not in the manifest, but *.tar in {printable(variant.folder)} reads it",
                )


def check_links(manifest: Manifest, faults: Faults) -> None:
    """Reports folders of an output that are links. A link in place of a file is reported where the file is read."""
    folders = {folder for name in manifest.files for folder in Path(name).parents}
    for folder in sorted(folders - {Path()}):
        if os.path.islink(manifest.root / folder):  # unlike pathlib's, no error where the name is too long for one
            faults.add(str(folder), "is a link")
