"""A strict reader of the tars that shards are: plain USTAR files, one after the other, and an end.

Written from POSIX.1-1988, independently of the writer; several times as fast as ``tarfile``, which makes an object of
each member. What it refuses, some client misreads: pax and GNU headers, links, long names, data after the end.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = 512
_SPACES = b" " * 8
_MAGIC = b"ustar\x0000"
# Mode, owner and group; time: the same in every member, so that nothing of who made it, where and when is in a tar.
_IDS, _TIME = b"0000644\0" + b"0000000\0" * 2, b"00000000000\0"


class Member(NamedTuple):
    """One file in the tar.

    Attributes:
        name: as in the header; a damaged one may be anything.
        offset: where its data begins, bytes.
        data: its content; empty where it was too large to be read.
        problem: what is wrong with the header, or an empty string.
    """

    name: str
    offset: int
    data: bytes
    problem: str = ""


class TarError(Exception):
    """The archive cannot be read any further; the text says where and why."""


def members(file: BinaryIO, most: int) -> Iterator[Member]:
    """Every member in order.

    Args:
        file: at its beginning, buffered.
        most: bytes of the largest member that is read; larger ones are skipped with a problem.

    Raises:
        TarError: cut off, no end, something behind the end, or a header that cannot be interpreted.
    """
    at = 0
    while True:
        header = file.read(BLOCK)
        if len(header) < BLOCK:
            raise TarError(f"cut off after {at + len(header):,} bytes: it has no end")
        if not header[0] and header == bytes(BLOCK):
            return _end(file, at + BLOCK)
        size = _octal(header[124:136])
        if size is None:
            raise TarError(f"no tar header at byte {at:,}")
        name, problem = _check(header)
        padded = size + -size % BLOCK
        if size > most:
            _skip(file, padded, at + BLOCK)
            data, problem = b"", problem or f"{size:,} bytes long, more than such a member can be"
        else:
            data = file.read(padded)
            if len(data) < padded:
                raise TarError(f"cut off after {at + BLOCK + len(data):,} bytes, in the middle of {name!a}")
            if data.count(0, size) != padded - size:
                problem = problem or "what fills its last block is not zeros"
            data = data[:size]
        yield Member(name, at + BLOCK, data, problem)
        at += BLOCK + padded


def _check(header: bytes) -> tuple[str, str]:
    """Name, and what is wrong with the header."""
    name = header[:100].partition(b"\0")[0].decode("latin-1")
    if _octal(header[148:156]) != sum(header[:148]) + sum(_SPACES) + sum(header[156:]):
        return name, "its tar header is damaged (checksum)"
    if header[257:265] != _MAGIC or any(header[345:500]):
        return name, "its tar header is not plain USTAR"
    if header[156:157] not in b"0\0":
        return name, f"it is no file (tar type {header[156:157].decode('latin-1')!a})"
    if header[100:124] + header[136:148] != _IDS + _TIME or any(header[157:257]) or any(header[265:329]):
        return name, "its tar header has another mode, owner or time than 0644, 0 and 0, or names"
    return name, ""


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None


def _skip(file: BinaryIO, count: int, at: int) -> None:
    """Move over data that is not wanted, noticing where the file ends first."""
    end = file.seek(0, 2)
    if end < at + count:
        raise TarError(f"cut off after {end:,} bytes, in the middle of a member")
    file.seek(at + count)


def _end(file: BinaryIO, at: int) -> None:
    """After the first zero block: a second one, then zeros only."""
    if file.read(BLOCK) != bytes(BLOCK):
        raise TarError(f"no end: one block of zeros at byte {at - BLOCK:,} where two should be")
    while rest := file.read(1 << 16):
        if any(rest):
            raise TarError("there is data behind its end")
