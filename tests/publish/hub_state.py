"""What the Hub of the tests holds: datasets, their branches, LFS objects, and what it does to requests."""

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Any

REGULAR = 5_000  # bytes; larger files, and tars, are LFS files
TOKEN = "hf_theOnlyGoodTokenOfThisServer"
PAGE = 7  # entries of a page of a tree


@dataclass
class File:
    """A committed file: its content is in ``State.objects`` if it is an LFS file."""

    content: bytes
    lfs: bool

    @property
    def entry(self) -> dict[str, Any]:
        entry = {"type": "file", "oid": git_hash(self.content), "size": len(self.content)}
        if self.lfs:
            entry["lfs"] = {
                "oid": hashlib.sha256(self.content).hexdigest(),
                "size": len(self.content),
                "pointerSize": 130,
            }
        return entry


@dataclass
class Dataset:
    private: bool = False
    branches: dict[str, dict[str, File]] = field(default_factory=lambda: {"main": {}})
    commits: list[tuple[str, list[str]]] = field(default_factory=list)  # branch, paths


@dataclass
class State:
    """What the server holds, and what it does to requests.

    Attributes:
        fail_uploads_after: number of LFS uploads that succeed; the next ones are refused.
        hold_uploads_after: number of LFS uploads that succeed; the next ones wait until ``released`` is set.
        refuse: an answer, (status, error), to each request whose path contains the key.
        corrupt: the path of a file whose content changes when it is committed.
        uploads: SHA-256 of the LFS objects, in the order in which they arrived.
    """

    datasets: dict[str, Dataset] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    fail_uploads_after: int | None = None
    hold_uploads_after: int | None = None
    released: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    corrupt: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
