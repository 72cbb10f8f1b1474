"""A strict reader of shards: plain USTAR files, one after the other, and the end of the archive.

Written from POSIX.1-1988, independently of the writer, and several times as fast as ``tarfile``, which builds an object
for each member. It refuses what at least one client misreads: pax and GNU headers, links, long names, data after the end.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = 512
_ZEROS = bytes(BLOCK)
_SPACES = b" " * 8
_MAGIC = b"ustar\x0000"
# Mode, owner, group and time are the same in every member: they must not say who made a tar, where or when.
_IDS, _TIME = b"0000644\0" + b"0000000\0" * 2, b"00000000000\0"
_TYPE_TO_END = b"0" + bytes(100) + _MAGIC + bytes(64) + b"0000000\0" * 2 + bytes(BLOCK - 345)
_CONSTANT_SUM = sum(_IDS) + sum(_TIME) + sum(_SPACES) + sum(_TYPE_TO_END)
_PIECE = 1 << 18  # bytes
_CACHED = 1 << 16  # headers at most: a hostile tar may have any number of small members


class Member(NamedTuple):
    """One file in the tar.

    Attributes:
        name: as in the header; of a damaged header it may be anything.
        offset: where the data begins, bytes.
        data: the content; empty if it was too large to be read.
        problem: what is wrong with the header, or an empty string.
    """

    name: str
    offset: int
    data: bytes
    problem: str = ""


class TarError(Exception):
    """The archive cannot be read any further; the text says where and why."""


class Header(NamedTuple):
    """What the header of a member says: its name, the bytes of its data, and what is wrong with it."""

    name: str
    size: int
    problem: str


Cache = dict[bytes, Header]  # of the headers of small members


def members(file: BinaryIO, largest: int, cache: Cache) -> Iterator[Member]:
    """Yields every member in order.

    Args:
        file: at its beginning, buffered. It is read from the first to the last byte, without seeking.
        largest: bytes of the largest member to read; larger members are skipped and get a problem.
        cache: headers that were parsed before. All variants of a shard have the same headers of labels.

    Raises:
        TarError: the archive is cut off, has no end, has data behind its end, or a header cannot be interpreted.
    """
    at, read = 0, file.read
    while True:
        block = read(BLOCK)
        if len(block) < BLOCK:
            raise TarError(f"cut off after {at + len(block):,} bytes: it has no end")
        if not block[0] and block == _ZEROS:
            return _check_end(file, at + BLOCK)
        name, size, problem = cache.get(block) or _parse(block, at, cache)
        at += BLOCK
        padded = size + -size % BLOCK
        if size > largest:
            _skip(file, padded, at)
            data, problem = b"", problem or f"{size:,} bytes long, more than such a member can be"
        else:
            data = read(padded)
            if len(data) < padded:
                raise TarError(f"cut off after {at + len(data):,} bytes, in the middle of {name!a}")
            if data[size:] != _ZEROS[: padded - size]:
                problem = problem or "what fills its last block is not zeros"
            data = data[:size]
        yield Member(name, at, data, problem)
        at += padded


def _parse(block: bytes, at: int, cache: Cache) -> Header:
    """Returns the header in a block, and adds that of a small member to the cache. Raises TarError."""
    name, digits = block[:100].partition(b"\0")[0], block[124:136]
    size = _octal(digits)
    if size is None:
        raise TarError(f"no tar header at byte {at:,}")
    checksum = sum(name) + sum(digits) + _CONSTANT_SUM
    # What a builder writes: to compare all bytes with it is faster than to check field by field.
    usual = b"%b%b%b%b%06o\0 %b" % (name.ljust(100, b"\0"), _IDS, digits, _TIME, checksum, _TYPE_TO_END)
    header = Header(name.decode("latin-1"), size, "" if block == usual else _problem(block))
    if size <= BLOCK and len(cache) < _CACHED:
        cache[block] = header
    return header


def _problem(header: bytes) -> str:
    """Returns what is wrong with a header, or an empty string."""
    if _octal(header[148:156]) != sum(header[:148]) + sum(_SPACES) + sum(header[156:]):
        return "its tar header is damaged (checksum)"
    if header[257:265] != _MAGIC or any(header[345:500]):
        return "its tar header is not plain USTAR"
    if header[156:157] not in b"0\0":
        return f"it is no file (tar type {header[156:157].decode('latin-1')!a})"
    if header[100:124] + header[136:148] != _IDS + _TIME or any(header[157:257]) or any(header[265:329]):
        return "its tar header has another mode, owner or time than 0644, 0 and 0, or names"
    return ""


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None


def _skip(file: BinaryIO, count: int, at: int) -> None:
    """Reads over data and drops it. Raises TarError if the file ends first."""
    end = at + count
    while at < end:
        piece = file.read(min(_PIECE, end - at))
        if not piece:
            raise TarError(f"cut off after {at:,} bytes, in the middle of a member")
        at += len(piece)


def _check_end(file: BinaryIO, at: int) -> None:
    """Requires a second block of zeros after the first, then zeros only. Raises TarError."""
    if file.read(BLOCK) != _ZEROS:
        raise TarError(f"no end: one block of zeros at byte {at - BLOCK:,} where two should be")
    while rest := file.read(_PIECE):
        if any(rest):
            raise TarError("there is data behind its end")
