"""The pages of a column in a Parquet file, found by their headers.

Source: apache/parquet-format, ``README.md`` and ``parquet.thrift`` (PageHeader, DataPageHeader, DataPageHeaderV2).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.extras import install
from pipeline.sources.parquet.thrift import CutOff, Struct, parse_struct

DATA, DICTIONARY, DATA_2 = 0, 2, 3  # PageType
PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY = 0, 2, 3, 8  # Encoding
INDICES = (PLAIN_DICTIONARY, RLE_DICTIONARY)  # into the values of the dictionary page
LARGEST_COMPRESSED = 1 << 29  # bytes of a page after decompression; writers make pages of 1 MB, or of 1,024 images
_HEADERS = (1 << 9, 1 << 14, 1 << 20, 1 << 25)  # bytes to try: a header may hold the smallest and the largest image

Read = Callable[[int, int], bytes]  # offset, size; returns fewer bytes at the end of the file


class Damaged(Exception):
    """The content of a file is not what the format allows, or this program does not read it. The message says what."""


class NotInstalled(Damaged):
    """Pages are compressed, and pyarrow is missing. The message says how to install it."""


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        kind: ``DATA``, ``DATA_2`` or ``DICTIONARY``.
        offset: of its header in the file.
        body: offset of its content in the file.
        stored: bytes of its content in the file.
        size: bytes of its content after decompression.
        values: how many values it has, nulls included.
        encoding: of the values.
        levels: bytes of the levels at the beginning of its content, in a page of version 2. They are not compressed.
        compressed: whether its content is compressed if the column is.
    """

    kind: int
    offset: int
    body: int
    stored: int
    size: int
    values: int
    encoding: int
    levels: int = 0
    compressed: bool = True

    @property
    def is_dictionary(self) -> bool:
        return self.kind == DICTIONARY


def pages(read: Read, start: int, end: int, values: int) -> Iterator[Page]:
    """Yields the pages of a column chunk in their order, until they hold ``values`` values.

    Args:
        start, end: the range of the chunk in the file.

    Raises:
        Damaged: a header is damaged, or the pages do not fit into the range.
    """
    position, left = start, values
    while left > 0:
        page = page_at(read, position, end)
        position = page.body + page.stored
        if page.kind == DICTIONARY:
            yield page
        elif page.kind in (DATA, DATA_2):
            left -= page.values
            if left < 0 or not page.values:
                raise Damaged("its pages do not hold as many values as its footer says")
            yield page


def page_at(read: Read, offset: int, end: int) -> Page:
    """Returns the page whose header is at ``offset``. Raises Damaged."""
    for most in _HEADERS:
        head = read(offset, min(most, end - offset)) if offset < end else b""
        try:
            fields, length = parse_struct(head)
            return _page(fields, offset, offset + length, end)
        except CutOff:
            if len(head) < most:
                break
        except (ValueError, KeyError, TypeError, AttributeError):
            break
    raise Damaged(f"the page at byte {offset:,} has no valid header")


def _page(fields: Struct, offset: int, body: int, end: int) -> Page:
    kind, size, stored = _number(fields[1]), _number(fields[2]), _number(fields[3])
    if body + stored > end:
        raise ValueError
    if kind == DATA:
        head = fields[5]
        if head[3] != RLE:
            raise Damaged(
                "it has levels in an encoding that writers stopped using; write it again with a current pyarrow"
            )
        return Page(kind, offset, body, stored, size, _number(head[1]), _number(head[2]))
    if kind == DATA_2:
        head = fields[8]
        levels = _number(head[5]) + _number(head[6])
        if levels > min(stored, size):
            raise ValueError
        return Page(
            kind, offset, body, stored, size, _number(head[1]), _number(head[4]), levels, bool(head.get(7, True))
        )
    if kind == DICTIONARY:
        return Page(kind, offset, body, stored, size, _number(fields[7][1]), _number(fields[7][2]))
    return Page(kind, offset, body, stored, size, 0, 0)  # an index page, which is skipped


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError
    return value


def unpacked(page: Page, content: bytes, codec: str) -> bytes:
    """Returns the content of a page without its compression, levels included.

    Args:
        content: as in the file.
        codec: the column's, in lower case: ``snappy``, ``zstd``, ...

    Raises:
        NotInstalled: that needs pyarrow.
        Damaged: it cannot be decompressed, or would be too large.
    """
    if not is_compressed(page, codec):
        return content
    try:
        import pyarrow as pa
    except ImportError:
        raise NotInstalled(f"its pages are compressed ({codec}), and {install('pyarrow')}") from None
    check_size(page, LARGEST_COMPRESSED)
    size = page.size - page.levels
    try:
        # An empty page has no compressed bytes at all with some writers.
        raw = pa.decompress(content[page.levels :], size, codec, asbytes=True) if size else b""
    except (pa.ArrowException, OSError, ValueError):
        raise Damaged(f"the page at byte {page.offset:,} cannot be decompressed ({codec})") from None
    return content[: page.levels] + bytes(raw)


def check_size(page: Page, largest: int) -> None:
    """Raises Damaged if a page has more than ``largest`` bytes."""
    if page.size > largest:
        raise Damaged(
            f"the page at byte {page.offset:,} has {page.size:,} bytes after decompression, at most {largest:,} are read: "
            "write it again with smaller pages, or without compression"
        )


def is_compressed(page: Page, codec: str) -> bool:
    """Returns whether the content of a page is compressed in the file."""
    return codec != "uncompressed" and page.compressed
