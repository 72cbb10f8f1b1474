"""Every file of an output against its claimed size and SHA-256, and tars that nothing claims."""

import hashlib
import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pipeline.proof.claims import FileClaim, Manifest
from pipeline.proof.faults import Faults, shown

INTACT, EDITED, TORN, ABSENT = "intact", "edited", "torn", "absent"


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading; never waits, as opening a pipe would. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file", str(path))
    return io.BufferedReader(io.FileIO(descriptor), 1 << 18)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_of(root: Path, name: str, claim: FileClaim, owners: Mapping[str, str]) -> tuple[str, str]:
    """Whether a file is the claimed one.

    Args:
        owners: the claimed files by their SHA-256, to tell files that have changed places.

    Returns:
        ``INTACT``, ``EDITED`` (another content), ``TORN`` (too short), or ``ABSENT`` (missing, unreadable, or another
        listed file), and what is wrong.
    """
    try:
        with open_regular(root / name) as file:
            size = os.fstat(file.fileno()).st_size
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ABSENT, "missing"
    except OSError as error:
        return ABSENT, f"cannot be read: {error.strerror}"
    if found == claim.sha256 and size == claim.size:
        return INTACT, ""
    if size and owners.get(found, name) != name:  # an empty file is torn, not a swapped empty one
        return ABSENT, f"swapped: it is {owners[found]}"
    if size < claim.size:
        return TORN, f"torn: {size:,} of {claim.size:,} bytes"
    if size > claim.size:
        return EDITED, f"{size:,} bytes, the manifest says {claim.size:,}"
    return EDITED, "differs from the manifest (SHA-256)"


def check_files(manifest: Manifest, names: list[str], owners: Mapping[str, str]) -> tuple[Faults, int]:
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
