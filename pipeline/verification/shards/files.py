"""Every file of an output against its claimed size and SHA-256, and tars that nothing claims."""

import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple

from pipeline.storage.files import Bounded, IsLink, open_regular
from pipeline.verification.faults import Faults, shown
from pipeline.verification.manifest.claims import FileClaim, Manifest

INTACT, EDITED, TORN, LONG, ABSENT = "intact", "edited", "torn", "long", "absent"
# How far a file that is longer than claimed is read, to tell what is in it.
SLACK = 1 << 20


class Owners(NamedTuple):
    """The claimed files by their SHA-256, to tell files that have changed places, and the sizes that they have."""

    names: dict[str, str]
    sizes: frozenset[int]


def owners_of(manifest: Manifest) -> Owners:
    claims = manifest.files
    return Owners({claim.sha256: name for name, claim in claims.items()}, frozenset(c.size for c in claims.values()))


def open_own(path: Path, most: int | None = None) -> io.BufferedReader:
    """Open a file of an output: a regular one, no link.

    Args:
        most: bytes that are read; those that it has now if None. Reading on raises ``TooLong``.

    Raises:
        OSError: it is missing, something else, or cannot be read.
    """
    file = open_regular(path, links=False)
    return io.BufferedReader(Bounded(file, os.fstat(file.fileno()).st_size if most is None else most), 1 << 18)


def digest_of(path: Path) -> str:
    """SHA-256 of a file of an output, hexadecimal. Raises OSError."""
    with open_own(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def why(error: OSError) -> str:
    """Why a file of an output cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    return "is a link" if isinstance(error, IsLink) else f"cannot be read: {error.strerror or shown(error)}"


def state_of(root: Path, name: str, claim: FileClaim, owners: Owners) -> tuple[str, str]:
    """Whether a file is the claimed one. One of a size that no file has is not read.

    Returns:
        ``INTACT``, ``EDITED`` (another content), ``TORN`` (too short), ``LONG`` (by more than ``SLACK``), or ``ABSENT``
        (missing, unreadable, or another listed file), and what is wrong.
    """
    try:
        with open_own(root / name) as file:
            size = os.fstat(file.fileno()).st_size
            known = size == claim.size or size in owners.sizes
            found = hashlib.file_digest(file, "sha256").hexdigest() if known else ""
    except OSError as error:
        return ABSENT, why(error)
    if found == claim.sha256 and size == claim.size:
        return INTACT, ""
    if size and owners.names.get(found, name) != name:  # an empty file is torn, not a swapped empty one
        return ABSENT, f"swapped: it is {owners.names[found]}"
    if size < claim.size:
        return TORN, f"torn: {size:,} of {claim.size:,} bytes"
    if size > claim.size:
        return LONG if size > claim.size + SLACK else EDITED, f"{size:,} bytes, the manifest says {claim.size:,}"
    return EDITED, "differs from the manifest (SHA-256)"


def check_files(manifest: Manifest, names: list[str], owners: Owners) -> tuple[Faults, int]:
    """Check files that are no part of a shard.

    Returns:
        faults, and the bytes that were read of files that are as claimed.
    """
    faults, proven = Faults(), 0
    for name in names:
        state, problem = state_of(manifest.root, name, manifest.files[name], owners)
        if state == INTACT:
            proven += manifest.files[name].size
        else:
            faults.add(name, problem)
    return faults, proven


def check_strays(manifest: Manifest, faults: Faults) -> None:
    """Tars in the variants' folders that the manifest does not list: patterns like ``*.tar`` would read them too."""
    for variant in manifest.variants:
        try:
            found = sorted(entry.name for entry in os.scandir(manifest.root / variant.folder))
        except OSError:
            continue  # then its shards are missing, too
        for name in found:
            if name.endswith(".tar") and f"{variant.folder}/{name}" not in manifest.files:
                faults.add(
                    f"{variant.folder}/{name}", f"not in the manifest, but *.tar in {shown(variant.folder)} reads it"
                )


def check_links(manifest: Manifest, faults: Faults) -> None:
    """Folders of an output that are links. A link in place of a file is told where the file is read."""
    folders = {folder for name in manifest.files for folder in Path(name).parents}
    for folder in sorted(folders - {Path()}):
        if os.path.islink(manifest.root / folder):  # unlike pathlib's, no error where the name is too long for one
            faults.add(str(folder), "is a link")
