"""Streams of bytes without matches, as ``verify`` reads them, against zlib."""

import random
import zlib
from typing import Any

import deflate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zlib_ng import zlib_ng

from pipeline.verification.shards import literals, tar_loops
from pipeline.verification.shards.png_batch import PngDecoder


def packed(data: bytes, blocks: int = 9, packer: Any = zlib) -> bytes:
    """A deflate stream of bytes alone."""
    huffman = packer.compressobj(9, packer.DEFLATED, -15, blocks, packer.Z_HUFFMAN_ONLY)
    return bytes(huffman.compress(data) + huffman.flush())


def unpacked(streams: list[bytes], size: int) -> list[bytes | None]:
    """What is made of streams that lie in one buffer, some bytes of anything between them."""
    gap = random.Random(0).randbytes(64)
    buffer = np.frombuffer(b"".join(gap + stream for stream in streams) + gap, np.uint8)
    stops = np.cumsum([len(gap) + len(stream) for stream in streams])
    starts = stops - [len(stream) for stream in streams]
    out, whole = np.zeros((len(streams), size + literals.SLACK), np.uint8), np.ones(len(streams), np.bool_)
    literals.unpack(buffer, starts, stops, size, out, whole)
    return [text[:size].tobytes() if right else None for text, right in zip(out, whole, strict=True)]


def by_zlib(stream: bytes, size: int) -> bytes | None:
    """What zlib makes of a stream; ``None`` where it is not whole, has another size, or something behind it."""
    reader = zlib.decompressobj(-15)
    try:
        text = reader.decompress(stream)
    except zlib.error:
        return None
    return text if reader.eof and not reader.unused_data and len(text) == size else None


def text_of(seed: int, size: int, alphabet: int, slope: float) -> bytes:
    """Bytes of which some are much more frequent than others."""
    rng = np.random.default_rng(seed)
    weights = np.exp(-slope * np.arange(alphabet))
    return bytes(rng.choice(rng.permutation(256)[:alphabet].astype(np.uint8), size, p=weights / weights.sum()))


@settings(deadline=None, max_examples=300)  # the first call compiles
@given(
    st.integers(0, 2**32),
    st.integers(1, 40_000),
    st.integers(2, 256),
    st.sampled_from([0, 0.02, 0.1, 0.5, 2.0]),
    st.integers(1, 9),
    st.integers(1, literals.LANES),
)
def test_bytes_alone_are_unpacked(seed: int, size: int, alphabet: int, slope: float, blocks: int, count: int) -> None:
    texts = [text_of(seed + i, size, alphabet, slope) for i in range(count)]
    streams = [packed(text, blocks, packer) for text, packer in zip(texts, [zlib, zlib_ng] * 2, strict=False)]
    for stream, text, found in zip(streams, texts, unpacked(streams, size), strict=True):
        assert found in (text, None)
        # Blocks of another kind are short, or nothing that a code makes shorter.
        assert found == text or size < 5000 or blocks < 9 or len(stream) > 0.95 * size


def test_codes_of_every_length_are_read() -> None:
    counts, text = [1, 1], bytearray()
    while len(counts) < 24:  # Fibonacci's numbers make codes as long as they can be
        counts.append(counts[-1] + counts[-2])
    for value, count in enumerate(counts):
        text += bytes([value]) * count
    random.Random(0).shuffle(text)
    text = text[:120_000]
    streams = [packed(bytes(text)), packed(bytes(text[::-1]))]
    assert unpacked(streams, len(text)) == [bytes(text), bytes(text[::-1])]


def test_what_has_matches_or_no_code_is_left_to_others() -> None:
    text = text_of(0, 20_000, 100, 0.1)
    matches, stored = zlib.compress(text, 9, -15), zlib.compress(text, 0, -15)
    fixed = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_FIXED)
    other = fixed.compress(text) + fixed.flush()
    assert unpacked([matches, stored, packed(text), other], len(text)) == [None, None, text, None]


@settings(deadline=None, max_examples=500)
@given(st.integers(0, 2**32), st.data())
def test_of_a_damaged_stream_nothing_is_made_that_zlib_does_not_make(seed: int, data: Any) -> None:
    text = text_of(seed, 3_000, data.draw(st.integers(2, 256)), 0.1)
    stream = bytearray(packed(text, data.draw(st.integers(1, 9))))
    for _ in range(data.draw(st.integers(1, 3))):  # most of all in the head, where the codes are
        place = data.draw(st.one_of(st.integers(0, 100), st.integers(0, len(stream) - 1))) % len(stream)
        stream[place] ^= 1 << data.draw(st.integers(0, 7))
    del stream[len(stream) - data.draw(st.sampled_from([0, 0, 0, 1, 2, 1000, 10_000])) :]
    size = len(text) + data.draw(st.sampled_from([0, 0, 0, -1, 1, -2000]))
    whole, beside = unpacked([bytes(stream), packed(text)], size)
    assert whole is None or whole == by_zlib(bytes(stream), size)
    assert beside == by_zlib(packed(text), size) or beside is None


def bits_of(lengths: list[int], literals: int, distances: int, body: str, repeats: str = "", last: str = "1") -> str:
    """A block whose codes' lengths are written down one by one, after them ``repeats``, and then ``body``."""
    counts = [(literals - 257, 5), (distances - 1, 5), (15, 4)]
    text = last + "01" + "".join(f"{number:0{bits}b}"[::-1] for number, bits in counts)  # least significant bits first
    # A repetition of zeros (18) has the code 000, and lengths 0 to 13 have codes of 4 bits, from 0010 on.
    text += "".join({18: "110"}.get(symbol, "001" if symbol < 14 else "000") for symbol in ORDER)
    return text + "".join(f"{length + 2:04b}" for length in lengths) + repeats + body


def bytes_of(bits: str) -> bytes:
    return int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")


def block(lengths: list[int], literals: int, distances: int, body: str, repeats: str = "") -> bytes:
    """A stream of one block."""
    return bytes_of(bits_of(lengths, literals, distances, body, repeats))


ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
A, B = [1] + [0] * 255, [2] * 2 + [0] * 254  # codes of one byte, and of two


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (block([*A, 1, 1, 1], 257, 2, "0" * 9 + "1"), bytes(9)),
        (block([*B, 1, 1, 1], 257, 2, "10" + "11" * 8 + "0"), b"\0" + b"\1" * 8),
        (block([*A, 1, 1, 1, 1], 257, 3, "0" * 9 + "1"), None),  # three distances of one bit
        (block([*A, 1, 1, 2, 2, *[0] * 28], 257, 31, "0" * 9 + "1"), None),  # a distance that there is not
        (block([*A, 1, *[0] * 30, 1, 1], 287, 2, "0" * 9 + "1"), None),  # a length that there is not
        (block([*A, 1, 1, 1], 257, 3, "0" * 9 + "1", "000" + "0" * 7), None),  # eleven lengths where one is missing
        (block([*A, 2, 1, 1], 257, 2, "0" * 9 + "10"), None),  # codes that mean nothing
        (block([*A, 0, 1, 1], 257, 2, "0" * 9), None),  # a block without an end
    ],
)
def test_codes_that_no_packer_writes_are_taken_as_zlib_takes_them(stream: bytes, text: bytes | None) -> None:
    assert unpacked([stream], 9) == [text]
    assert by_zlib(stream, 9) == text


def test_nothing_behind_a_stream_is_read() -> None:
    text = text_of(0, 20_000, 200, 0.0)
    stream, out, whole = packed(text), np.zeros((1, len(text) + literals.SLACK), np.uint8), np.ones(1, np.bool_)
    buffer = np.frombuffer(stream + bytes(64), np.uint8)
    for stop in (0, 1, 50, 300, 1000):
        out[:] = 0
        literals.unpack(buffer, np.array([0]), np.array([stop]), len(text), out, whole)
        assert not whole[0]
        assert out.max(axis=0).nonzero()[0].max(initial=0) < 2 * stop + 64  # codes of most bytes have about 8 bits


def test_random_bits_are_no_stream() -> None:
    rng = random.Random(1)
    for _ in range(2_000):
        noise = [bytes([rng.randrange(256) & ~7 | 5]) + rng.randbytes(rng.randrange(300)) for _ in range(4)]
        for stream, found in zip(noise, unpacked(noise, 100), strict=True):
            assert found is None or found == by_zlib(stream, 100)


def image(lines: np.ndarray, checksum: bytes | None = None, head: bytes = b"\x78\x01") -> bytes:
    """The deflated rows of an image, without matches."""
    data = lines.tobytes()
    return head + packed(data) + (checksum or zlib.adler32(data).to_bytes(4, "big"))


def decoded(images: list[bytes], height: int, row: int) -> np.ndarray | None:
    """What ``decode`` makes of images' deflated rows."""
    spans, chunks, at = np.zeros((len(images), tar_loops.SPAN), np.int64), [], 0
    for span, data in zip(spans, images, strict=True):
        span[[tar_loops.DATA, tar_loops.LENGTH]] = at + 4, len(data)
        span[tar_loops.CHECKSUM] = zlib.crc32(b"IDAT" + data)
        chunks.append(b"IDAT" + data)
        at += 4 + len(data)
    buffer, pixels = b"".join(chunks) + bytes(64), np.zeros((len(images), height, row), np.uint8)
    right = PngDecoder((height, row // 3)).decode(np.frombuffer(buffer, np.uint8), spans, pixels)
    return pixels if right else None


def photographs(count: int, height: int, row: int) -> np.ndarray:
    """uint8 (count, height, 1 + row): rows without a filter, of levels that are not equally frequent."""
    rng = np.random.default_rng(0)
    levels = np.clip(rng.normal(128, 9, (count, height, 1 + row)), 0, 255).astype(np.uint8)
    levels[:, :, 0] = 0
    return levels


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_large_images_are_read_whatever_packed_them(count: int) -> None:
    levels = photographs(count, 60, 180)
    images = [zlib.compress(rows.tobytes(), 1 + i) if i % 3 == 1 else image(rows) for i, rows in enumerate(levels)]
    found = decoded(images, 60, 180)
    assert found is not None and (found == levels[:, :, 1:]).all()


def test_a_large_image_with_a_wrong_head_or_checksum_is_not_taken() -> None:
    good, bad = photographs(2, 60, 180)
    assert decoded([image(good), image(bad)], 60, 180) is not None
    for wrong in ({"checksum": bytes(4)}, {"head": b"\x78\x02"}, {"head": b"\x78\x20"}, {"head": b"\x88\x1c"}):
        assert decoded([image(good), image(bad, **wrong)], 60, 180) is None


def fixed(*symbols: int) -> bytes:
    """A stream of one block of fixed codes (RFC 1951, 3.2.6), all of whose copies are of the byte before."""
    bits = "110"
    for symbol in symbols:
        places = [(280, 192, 8), (256, 0, 7), (144, 400, 9), (0, 48, 8)]
        first, code, length = next(place for place in places if symbol >= place[0])
        bits += f"{symbol - first + code:0{length}b}" + "00000" * (symbol > 256)
    return bytes_of(bits)


BLACK = bytes(280)  # 40 rows of two pixels
BODY = "0" * 280 + "1"
REST = "".join(f"{byte:08b}"[::-1] for byte in zlib.compress(BLACK, 9, -15))


@pytest.mark.parametrize(
    ("stream", "right"),
    [
        (zlib.compress(BLACK, 0, -15), True),
        (fixed(0, 285, 0, 0, 0, *[257] * 6, 256), True),
        (fixed(0, 286, 0, 0, 0, *[257] * 6, 256), False),  # a length that there is not
        (fixed(0, 287, 0, 0, 0, *[257] * 6, 256), False),
        (block([*A, 1, 1, 1], 257, 2, BODY), True),
        (block([*A, 1, *[0] * 31, 1, 1], 288, 2, BODY), False),
        (block([*A, 1, 1, 1, *[0] * 29], 257, 31, BODY), False),
        (block([*A, 1, 1, 1, *[0] * 30], 257, 32, BODY), False),
        (bytes_of(bits_of([*A, 1, 1, 1], 257, 2, "1", last="0") + REST), True),
        (bytes_of(bits_of([*A, 1, *[0] * 30, 1, 1], 287, 2, "1", last="0") + REST), False),
    ],
)
def test_what_zlib_refuses_is_not_taken_though_libdeflate_takes_it(stream: bytes, right: bool) -> None:
    assert (by_zlib(stream, len(BLACK)) == BLACK) == right
    data = b"\x78\x01" + stream + zlib.adler32(BLACK).to_bytes(4, "big")
    assert deflate.zlib_decompress(data, len(BLACK)) == BLACK
    found = decoded([image(np.zeros((40, 7), np.uint8)), data], 40, 6)
    assert (found is not None) == right
    assert found is None or not found.any()
