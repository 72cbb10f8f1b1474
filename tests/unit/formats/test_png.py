"""Promises of the PNG encoder: every decoder returns the pixels, and equal pixels give equal bytes."""

import hashlib
import io
import os
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable

import deflate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.formats import png
from pipeline.formats.deflate import huffman
from tests.unit.formats import plain_png

FILTERS = (png.NONE, png.AVERAGE)
SIZES = ((1, 1), (1, 2), (2, 1), (1, 33), (33, 1), (3, 5), (31, 33), (32, 32), (7, 224), (100, 3))  # height, width
KINDS = ("noise", "black", "white", "binary", "almost white", "ramp")


def images(kind: str, size: tuple[int, int], count: int = 3) -> np.ndarray:
    """Returns uint8 (n, 3, h, w)."""
    rng, shape = np.random.default_rng(2), (count, 3, *size)
    drawn = {
        "noise": rng.integers(0, 256, shape),
        "black": np.zeros(shape),
        "white": np.full(shape, 255),
        "binary": 255 * rng.integers(0, 2, shape),  # above + left needs nine bits
        "almost white": 254 + rng.integers(0, 2, shape),
        "ramp": np.arange(np.prod(shape)).reshape(shape) % 256,
    }[kind]
    return drawn.astype(np.uint8)


def encode(pixels: np.ndarray, filter_type: int) -> list[bytes]:
    return png.encode(pixels, filter_type).split()


def chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    """Returns (type, data) of every chunk, with length and checksum verified."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    parsed, offset = [], 8
    while offset < len(file):
        (length,) = struct.unpack_from(">I", file, offset)
        kind, data = file[offset + 4 : offset + 8], file[offset + 8 : offset + 8 + length]
        assert len(data) == length
        assert struct.unpack_from(">I", file, offset + 8 + length) == (zlib.crc32(kind + data),)
        parsed.append((kind, data))
        offset += 12 + length
    return parsed


def unfilter(lines: bytes, height: int, width: int) -> np.ndarray:
    """Returns uint8 (3, h, w), by section 9 of the PNG specification, byte by byte."""
    row = 3 * width
    assert len(lines) == height * (1 + row)
    above, rows = [0] * row, []
    for y in range(height):
        kind, *filtered = lines[y * (1 + row) : (y + 1) * (1 + row)]
        assert kind in FILTERS
        current: list[int] = []
        for x, value in enumerate(filtered):
            left = current[x - 3] if x >= 3 else 0
            current.append((value + (left + above[x]) // 2 * (kind == png.AVERAGE)) % 256)
        rows.append(current)
        above = current
    return np.array(rows, np.uint8).reshape(height, width, 3).transpose(2, 0, 1)


@pytest.mark.parametrize("filter_type", FILTERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_pillow_and_the_specification_give_back_the_pixels(kind: str, size: tuple[int, int], filter_type: int) -> None:
    pixels = images(kind, size)
    files = encode(pixels, filter_type)
    assert len(files) == len(pixels)
    for image, file in zip(pixels, files, strict=True):
        with Image.open(io.BytesIO(file)) as opened:
            assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", size[::-1])
            np.testing.assert_array_equal(np.asarray(opened).transpose(2, 0, 1), image)
        (head, header), (body, data), (tail, nothing) = chunks(file)
        assert (head, body, tail, nothing) == (b"IHDR", b"IDAT", b"IEND", b"")
        assert header == struct.pack(">IIBBBBB", size[1], size[0], 8, 2, 0, 0, 0)
        stream = zlib.decompressobj()
        lines = stream.decompress(data)
        assert (stream.eof, stream.unused_data) == (True, b"")
        np.testing.assert_array_equal(unfilter(lines, *size), image)


def plain(image: np.ndarray, filter_type: int) -> bytes:
    """Returns the file of a uint8 (3, h, w) image, by the encoder written from docs/format.md."""
    return plain_png.encode([[tuple(pixel) for pixel in row] for row in image.transpose(1, 2, 0).tolist()], filter_type)


@pytest.mark.parametrize("filter_type", FILTERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_are_those_of_the_documented_format(kind: str, size: tuple[int, int], filter_type: int) -> None:
    pixels = images(kind, size)
    assert encode(pixels, filter_type) == [plain(image, filter_type) for image in pixels]


# With rows of 1,024 and 1,501 bytes: one block, just not yet two, just two, two, three, and a shorter last one.
BLOCKS = [(32, 341), (47, 341), (48, 341), (64, 341), (85, 341), (97, 500)]


@pytest.mark.parametrize("size", BLOCKS)
def test_large_images_are_divided_into_blocks_as_documented(size: tuple[int, int]) -> None:
    ramp = np.add.outer(np.arange(3), np.add.outer(np.arange(size[0]), np.arange(size[1]) // 5)) % 256
    noise = np.random.default_rng(3).binomial(12, 0.5, ramp.shape)
    pixels = ((ramp + noise) % 256).astype(np.uint8)[None]
    for filter_type in FILTERS:
        assert encode(pixels, filter_type) == [plain(pixels[0], filter_type)]


def fibonacci(most: int) -> list[int]:
    numbers = [1, 1]
    while numbers[-1] + numbers[-2] <= most:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers


def test_codes_that_would_be_too_long_are_shortened_as_documented() -> None:
    values = np.repeat(np.arange(2, 23), fibonacci(20_000)[:21])  # their best codes have up to 21 bits
    pixels = np.zeros(3 * 96 * 110, np.uint8)
    pixels[: len(values)] = np.random.default_rng(0).permutation(values)
    (file,) = encode(pixels.reshape(1, 3, 96, 110), png.NONE)
    assert file == plain(pixels.reshape(3, 96, 110), png.NONE)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(file))).transpose(2, 0, 1), pixels.reshape(3, 96, 110)
    )


@given(
    st.one_of(
        st.lists(st.integers(0, 50_000), min_size=2, max_size=257),
        st.lists(st.sampled_from([0, 1, 1, 2, 2, 4, 8]), min_size=2, max_size=257),
        st.permutations(fibonacci(100_000)),
        st.permutations([2**n for n in range(17)]),
    ),
    st.sampled_from([7, 9, 14]),
)
def test_code_lengths_are_those_of_a_plain_huffman_tree(counts: list[int], limit: int) -> None:
    counts = list(counts[: 2**limit])
    counts[0], counts[-1] = max(1, counts[0]), max(1, counts[-1])
    lengths = np.full(len(counts), -1)
    huffman.code_lengths(np.array(counts), np.int64(limit), lengths, huffman.scratch())
    expected = plain_png.code(Counter(dict(enumerate(counts))), limit)
    assert {symbol: length for symbol, length in enumerate(lengths.tolist()) if length} == expected
    assert sum(2.0**-length for length in expected.values()) == 1
    assert max(expected.values()) <= limit


sizes = st.one_of(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 70), st.integers(1, 70)))
palettes = st.one_of(
    st.lists(st.integers(0, 255), min_size=1, max_size=3),
    st.just([0, 1, 127, 128, 254, 255]),
    st.just(list(range(256))),
)


@given(sizes, st.integers(0, 2**32), palettes, st.sampled_from(FILTERS))
def test_any_pixels_come_back(size: tuple[int, int], seed: int, palette: list[int], filter_type: int) -> None:
    pixels = np.random.default_rng(seed).choice(palette, (2, 3, *size)).astype(np.uint8)
    for file, image in zip(encode(pixels, filter_type), pixels, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))).transpose(2, 0, 1), image)
        lines = zlib.decompress(chunks(file)[1][1])
        assert lines == bytes(deflate.zlib_decompress(chunks(file)[1][1], len(lines)))
        if pixels.size < 300:
            assert file == plain(image, filter_type)


def _cv2(file: bytes) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    return np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1])


def _imagecodecs(file: bytes) -> np.ndarray:
    return np.asarray(pytest.importorskip("imagecodecs").png_decode(file))


def _torchvision(file: bytes) -> np.ndarray:
    io = pytest.importorskip("torchvision.io")
    import torch

    return np.asarray(io.decode_png(torch.frombuffer(bytearray(file), dtype=torch.uint8)).permute(1, 2, 0))


@pytest.mark.parametrize("decode", [_cv2, _imagecodecs, _torchvision])
@pytest.mark.parametrize("size", [*SIZES, (224, 224)])
def test_other_decoders_give_back_the_pixels(decode: Callable[[bytes], np.ndarray], size: tuple[int, int]) -> None:
    for kind in KINDS:
        pixels = images(kind, size, 1)
        for filter_type in FILTERS:
            np.testing.assert_array_equal(
                decode(encode(pixels, filter_type)[0]).transpose(2, 0, 1), pixels[0], err_msg=kind
            )


@pytest.mark.parametrize("filter_type", FILTERS)
def test_an_images_bytes_depend_neither_on_the_batch_nor_on_its_layout_in_memory(filter_type: int) -> None:
    pixels = images("noise", (13, 11), 10)
    files = encode(pixels, filter_type)
    assert [encode(pixels[i : i + 1], filter_type)[0] for i in range(10)] == files
    strided = np.asfortranarray(pixels)
    assert encode(strided, filter_type) == files
    np.testing.assert_array_equal(pixels, images("noise", (13, 11), 10))


def test_another_filter_is_refused() -> None:
    for filter_type in (1, 2, 4, 5, -1):
        with pytest.raises(ValueError, match=f"filter {filter_type} is not 0 or 3"):
            encode(images("black", (2, 2)), filter_type)


def test_no_images_give_no_files() -> None:
    assert encode(np.empty((0, 3, 4, 4), np.uint8), png.AVERAGE) == []


_ENCODE = """
import hashlib, numpy as np
from pipeline.formats import png
rng = np.random.default_rng(2)
junk = [rng.bytes(3 << 10) for _ in range(200)]
digest = hashlib.sha256()
for size in ((1, 1), (31, 33), (32, 32), (224, 224)):
    pixels = rng.integers(0, 256, (4, 3, *size), dtype=np.uint8) // 16 * 16
    for kind in (png.NONE, png.AVERAGE):
        for file in png.encode(pixels, kind).split():
            digest.update(file)
print(digest.hexdigest())
"""


def test_bytes_do_not_depend_on_what_memory_held_before() -> None:
    digests = set()
    for perturb in ("0", "85", "255"):
        environment = os.environ | {"MALLOC_PERTURB_": perturb}
        done = subprocess.run(
            [sys.executable, "-c", _ENCODE], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_photographs_get_smaller_than_their_pixels(cifar_planes: Callable[[int], np.ndarray]) -> None:
    pixels = cifar_planes(200).reshape(-1, 3, 32, 32)
    files = encode(pixels, png.AVERAGE)
    assert sum(map(len, files)) < 0.9 * pixels.size


# SHA-256 of the files of 4 images of 300 x 260, several blocks each: a new version of a library must not alter a byte.
GOLDEN = {
    png.NONE: "b75b5a76c0e377f77605cc1a907c58adee3f2bc039ca99838598bc6c81dd2276",
    png.AVERAGE: "4094f44696a6dcab08245a82f90915551e282cb1b610442faa6779021086db92",
}


@pytest.mark.parametrize("filter_type", FILTERS)
def test_bytes_of_large_images_are_pinned(filter_type: int) -> None:
    numbers = np.arange(4 * 3 * 300 * 260, dtype=np.int64)
    pixels = (numbers * numbers // 977 % 256 * (numbers // 50_000 % 5) // 4).astype(np.uint8).reshape(4, 3, 300, 260)
    assert hashlib.sha256(b"".join(encode(pixels, filter_type))).hexdigest() == GOLDEN[filter_type]
