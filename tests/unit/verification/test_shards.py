"""The reader of shards against Pillow, zlib and the complement law, and what it reports under a hash that fits."""

import functools
import hashlib
import io
import itertools
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import deflate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pipeline import build as build_command
from pipeline.verification.faults import Faults
from pipeline.verification.files import HashedFile, owners_of
from pipeline.verification.listings import read_listings
from pipeline.verification.manifest.claims import FileClaim, Manifest
from pipeline.verification.manifest.document import load
from pipeline.verification.parts import Result, ShardWork
from pipeline.verification.shards import verify_shard as verify_shard_module
from pipeline.verification.shards.complement import Bounds
from pipeline.verification.shards.image import BadImage, decode, decode_all
from pipeline.verification.shards.moments import moments_of
from pipeline.verification.shards.unfilter import unfilter
from pipeline.verification.shards.verify_shard import verify_shard
from pipeline.verification.verify_output import shard_work

TAR = "sample-rank3/sample-rank3-train-000000.tar"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(shape: tuple[int, int], *data: bytes) -> bytes:
    """A PNG file of (height, width), with IDAT chunks of these data."""
    header = struct.pack(">IIBBBBB", shape[1], shape[0], 8, 2, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *(chunk(b"IDAT", part) for part in data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def deflated(lines: np.ndarray, level: int = 6) -> bytes:
    """A PNG file of rows that are filtered already, uint8 (h, 1 + 3 w)."""
    return png((lines.shape[0], lines.shape[1] // 3), zlib.compress(lines.tobytes(), level))


# Images


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32), st.data())
def test_every_filter_gives_the_pixels_that_pillow_gives(height: int, width: int, seed: int, data: Any) -> None:
    lines = np.random.default_rng(seed).integers(0, 256, (2, height, 1 + 3 * width), dtype=np.uint8)
    lines[:, :, 0] = data.draw(arrays(np.uint8, (2, height), elements=st.integers(0, 4)))
    pixels, valid = unfilter(lines)
    assert valid.all()
    for image, actual in zip(lines, pixels, strict=True):
        assert (np.asarray(Image.open(io.BytesIO(deflated(image)))) == actual).all()


@pytest.mark.parametrize("kind", [5, 6, 128, 255])
def test_an_unknown_filter_is_a_fault_of_its_image_alone(kind: int) -> None:
    lines = np.zeros((3, 2, 7), np.uint8)
    lines[1, 1, 0] = kind
    _, errors = decode_all([deflated(image) for image in lines], (2, 2), "png")
    assert list(errors) == [1] and "filter" in str(errors[1])


@settings(deadline=None)  # the first call compiles
@given(arrays(np.uint8, (2, 6)), st.integers(0, 9), st.integers(0, 20))
def test_images_are_inflated_whatever_compressed_them(pixels: np.ndarray, level: int, cut: int) -> None:
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels), level)
    for content in (png((2, 2), data), png((2, 2), data[:cut], data[cut:])):
        assert (decode(content, (2, 2), "png").reshape(2, 6) == pixels).all()


BLACK = bytes(14)  # 2 x 2 pixels


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"x", bytes(60)),
        *(zlib.compress(bytes(13)), zlib.compress(bytes(15)), zlib.compress(BLACK)[:-1], zlib.compress(BLACK) + b"x"),
        *(zlib.compress(BLACK)[:-4] + bytes(4), b"\x78\x02" + zlib.compress(BLACK)[2:]),
        b"\x78\x20" + zlib.compress(BLACK)[2:],
    ],
)
def test_compressed_rows_that_are_cut_off_or_damaged_or_of_another_size_are_refused(data: bytes) -> None:
    with pytest.raises(BadImage):
        decode(png((2, 2), data), (2, 2), "png")


@pytest.mark.parametrize("at", range(8, 57 + len(zlib.compress(BLACK))))
def test_every_byte_of_a_png_file_counts(at: int) -> None:
    content = bytearray(png((2, 2), zlib.compress(BLACK)))
    content[at] ^= 1
    with pytest.raises(BadImage):
        decode(bytes(content), (2, 2), "png")


def test_an_image_that_cannot_hold_its_pixels_is_refused_before_memory_is_allocated() -> None:
    with pytest.raises(BadImage, match=r"8,000 x 8,000|bytes"):
        decode(png((8000, 8000), zlib.compress(BLACK)), (8000, 8000), "png")


# Streams that libdeflate accepts and zlib refuses

ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
ONE_BYTE = [1] + [0] * 255  # lengths of codes: one byte alone has a code
ROWS = bytes(280)  # 40 rows of two pixels
BODY = "0" * 280 + "1"
REST = "".join(f"{byte:08b}"[::-1] for byte in zlib.compress(ROWS, 9, -15))


def bits_of(lengths: list[int], literals: int, distances: int, body: str, last: str = "1") -> str:
    """A block with its own codes (RFC 1951, 3.2.7), whose lengths are written one by one, and then ``body``."""
    counts = [(literals - 257, 5), (distances - 1, 5), (15, 4)]
    text = last + "01" + "".join(f"{number:0{bits}b}"[::-1] for number, bits in counts)  # least significant bits first
    # A repetition of zeros (18) has the code 000, and lengths 0 to 13 have codes of 4 bits, from 0010 on.
    text += "".join({18: "110"}.get(symbol, "001" if symbol < 14 else "000") for symbol in ORDER)
    return text + "".join(f"{length + 2:04b}" for length in lengths) + body


def bytes_of(bits: str) -> bytes:
    return int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")


def fixed(*symbols: int) -> bytes:
    """A stream of one block of fixed codes (RFC 1951, 3.2.6), all of whose copies are of the byte before."""
    bits = "110"
    for symbol in symbols:
        places = [(280, 192, 8), (256, 0, 7), (144, 400, 9), (0, 48, 8)]
        first, code, length = next(place for place in places if symbol >= place[0])
        bits += f"{symbol - first + code:0{length}b}" + "00000" * (symbol > 256)
    return bytes_of(bits)


@pytest.mark.parametrize(
    ("stream", "right"),
    [
        (zlib.compress(ROWS, 0, -15), True),
        (fixed(0, 285, 0, 0, 0, *[257] * 6, 256), True),
        (fixed(0, 286, 0, 0, 0, *[257] * 6, 256), False),  # a length that does not exist
        (fixed(0, 287, 0, 0, 0, *[257] * 6, 256), False),
        (bytes_of(bits_of([*ONE_BYTE, 1, 1, 1], 257, 2, BODY)), True),
        (bytes_of(bits_of([*ONE_BYTE, 1, *[0] * 31, 1, 1], 288, 2, BODY)), False),
        (bytes_of(bits_of([*ONE_BYTE, 1, 1, 1, *[0] * 29], 257, 31, BODY)), False),
        (bytes_of(bits_of([*ONE_BYTE, 1, 1, 1, *[0] * 30], 257, 32, BODY)), False),
        (bytes_of(bits_of([*ONE_BYTE, 1, 1, 1], 257, 2, "1", last="0") + REST), True),
        (bytes_of(bits_of([*ONE_BYTE, 1, *[0] * 30, 1, 1], 287, 2, "1", last="0") + REST), False),
    ],
)
def test_what_zlib_refuses_is_refused_though_libdeflate_accepts_it(stream: bytes, right: bool) -> None:
    data = b"\x78\x01" + stream + zlib.adler32(ROWS).to_bytes(4, "big")
    assert deflate.zlib_decompress(data, len(ROWS)) == ROWS
    _, errors = decode_all([png((40, 2), data)], (40, 2), "png")
    assert (not errors) == right


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32), st.data())
def test_a_damaged_stream_is_read_as_zlib_reads_it(seed: int, data: Any) -> None:
    rows = np.random.default_rng(seed).integers(0, 9, (10, 61), dtype=np.uint8)
    rows[:, 0] %= 5
    stream = bytearray(zlib.compress(rows.tobytes(), 9))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.one_of(st.integers(0, 60), st.integers(0, len(stream) - 1))) % len(stream)
        stream[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        reader = zlib.decompressobj()
        text = reader.decompress(bytes(stream))
        right = reader.eof and not reader.unused_data and len(text) == rows.size and max(text[::61]) < 5
    except zlib.error:
        right = False
    _, errors = decode_all([png((10, 20), bytes(stream))], (10, 20), "png")
    assert (not errors) == right


# Laws over pixels


@functools.cache
def values_of(low: int, high: int) -> frozenset[int]:
    """The values x that low = clip(r), high = clip(x - r + 128) leave for an image, for any whole r."""
    values = set()
    for x in range(256):
        for r in range(-300, 560):
            if min(max(r, 0), 255) == low and min(max(x - r + 128, 0), 255) == high:
                values.add(x)
                break
    return frozenset(values)


def test_the_complement_law_is_that_of_all_whole_numbers() -> None:
    edges = [0, 1, 2, 127, 128, 129, 254, 255]
    for low, high in itertools.product(edges, edges):
        values = values_of(low, high)
        images = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
        everywhere = np.ones(256, bool)
        bounds = Bounds(images, everywhere)
        wrong = bounds.broken(np.full_like(images, low), np.full_like(images, high), everywhere)
        assert set(np.flatnonzero(~wrong).tolist()) == values


@settings(deadline=None)  # the first call compiles
@given(arrays(np.uint8, (3, 2, 3), elements=st.sampled_from([0, 1, 100, 127, 128, 129, 254, 255])))
def test_parts_of_an_unknown_image_leave_values_until_they_do_not(parts: np.ndarray) -> None:
    left = [frozenset(range(256)) for _ in range(3)]
    bounds = Bounds(np.zeros((1, 1, 1, 3), np.uint8), np.array([False]))
    for low, high in parts:
        wrong = bounds.broken(low.reshape(1, 1, 1, 3), high.reshape(1, 1, 1, 3), np.array([True])).ravel()
        for i in range(3):
            values = left[i] & values_of(int(low[i]), int(high[i]))
            assert wrong[i] == (not values)
            left[i] = values or left[i]  # a part that does not fit narrows nothing


@settings(deadline=None)  # the first call compiles
@given(arrays(np.uint8, st.tuples(st.integers(0, 4), st.integers(1, 9), st.sampled_from([1, 2, 32]), st.just(3))))
def test_moments_are_sums_of_whole_numbers(images: np.ndarray) -> None:
    moments = moments_of(images)
    levels = images.reshape(-1, 3).astype(object)
    assert moments.pixels == len(levels) and moments.ends == np.count_nonzero((images == 0) | (images == 255))
    assert (moments.sums * 255).tolist() == pytest.approx(levels.sum(axis=0).tolist() or [0] * 3)
    assert (moments.squares * 255**2).tolist() == pytest.approx((levels**2).sum(axis=0).tolist() or [0] * 3)


def test_moments_of_more_rows_than_add_up_in_32_bits() -> None:
    moments = moments_of(np.full((2, 100_000, 1, 3), 255, np.uint8))
    assert moments.squares.tolist() == [200_000] * 3


# Files


def test_a_hashed_file_is_the_claimed_one_only_if_all_of_it_was_read(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    claim = FileClaim(len(content), hashlib.sha256(content).hexdigest())
    with io.BufferedReader(HashedFile(tmp_path / "file", len(content)), 1 << 16) as file:
        for size in itertools.cycle([1, 300_000, 512]):
            if not file.read(size):
                break
        assert isinstance(file.raw, HashedFile) and file.raw.is_claimed(claim)
        assert not file.raw.is_claimed(claim._replace(size=claim.size - 1))
    with io.BufferedReader(HashedFile(tmp_path / "file", len(content)), 1 << 16) as file:
        file.read(1)
        assert isinstance(file.raw, HashedFile) and not file.raw.is_claimed(claim)


@pytest.fixture(scope="module", params=["low,high,full", "low,high --bands 3:12 --radii 4"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "out"
    options = ["--ranks", "3,12", "--samples-per-shard", "8", "--limit", "10", "--components", *request.param.split()]
    assert build_command.main([*options, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    return out


def work_of(manifest: Manifest) -> ShardWork:
    """The first shard, two of whose images are recomputed."""
    shard = manifest.shards[0]
    return shard_work(shard, read_listings(manifest, None, Faults())[shard.split], [2, 5], None)


def verified(manifest: Manifest) -> Result:
    return verify_shard(manifest, owners_of(manifest), work_of(manifest), None)


def test_a_shard_without_a_fault_is_read_once(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Counted(HashedFile):
        def __init__(self, path: Path, most: int) -> None:
            opened.append(path.name)
            super().__init__(path, most)

    monkeypatch.setattr(verify_shard_module, "HashedFile", Counted)
    manifest = load(built, Faults())
    result = verified(manifest)
    assert result.faults.count == 0 and result.samples == 8
    assert sorted(opened) == sorted(Path(tar).name for tar in manifest.shards[0].tars.values())
    assert result.bytes == sum(manifest.files[name].size for name in files_of(manifest))


def files_of(manifest: Manifest) -> Iterator[str]:
    for tar in manifest.shards[0].tars.values():
        yield from (tar, tar.removesuffix(".tar") + ".idx")


# A changed pixel breaks a law between variants: any of their tars may be named, but the sample must be.
EDITS = {
    "pixel": "train-00000000: ",
    "filter": ".png: a row has a filter",
    "label": "label ",
    "key": "no .cls follows it",
}


@pytest.mark.parametrize("edit", [*EDITS, "length"])
def test_what_is_wrong_under_a_hash_that_fits_is_named(built: Path, tmp_path: Path, edit: str) -> None:
    """The manifest claims the hash of the edited file, so only its content can tell."""
    out = Path(shutil.copytree(built, tmp_path / "out"))
    manifest = load(out, Faults())
    content = bytearray((out / TAR).read_bytes())
    size = int(content[124:135], 8)
    label = 512 + size + -size % 512
    if edit == "label":
        content[label + 512] ^= 1
    elif edit == "key":
        content[12] ^= 1
        content[148:156] = b"%06o\0 " % (sum(content[:148]) + 256 + sum(content[156:512]))
    else:
        data = bytes(content[512 : 512 + size])
        lines = np.frombuffer(zlib.decompress(data[41:-16]), np.uint8).reshape(32, -1).copy()
        if edit == "pixel":
            lines[7, 30] ^= 2
        elif edit == "filter":
            lines[3, 0] = 7
        changed = deflated(lines if edit != "length" else lines[:31])
        head = content[:124] + b"%011o" % len(changed) + content[135:512]
        head[148:156] = b"%06o\0 " % (sum(head[:148]) + 256 + sum(head[156:512]))
        content[:label] = head + changed + bytes(-len(changed) % 512)
    (out / TAR).write_bytes(content)
    claim = FileClaim(len(content), hashlib.sha256(content).hexdigest())
    result = verified(replace(manifest, files=manifest.files | {TAR: claim}))
    listed = [str(fault) for fault in result.faults.listed]
    where = "" if edit == "pixel" else TAR
    assert any(line.startswith(where) and EDITS.get(edit, ".png: ") in line for line in listed), listed
