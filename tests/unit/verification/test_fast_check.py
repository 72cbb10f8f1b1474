"""The fast way of ``verify`` against Pillow, ``tarfile``, the law as it is written, and against the slow way."""

import hashlib
import io
import random
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pipeline import build as build_command
from pipeline.verification import listings
from pipeline.verification.faults import Faults
from pipeline.verification.listings import read_listings
from pipeline.verification.manifest.claims import Manifest
from pipeline.verification.manifest.document import load
from pipeline.verification.part import Result, Work
from pipeline.verification.prove import _work
from pipeline.verification.shards import complement_loops, libdeflate, png_loops, tar_loops
from pipeline.verification.shards.complement import Bounds
from pipeline.verification.shards.diagnosis import ShardProof
from pipeline.verification.shards.fast_check import screen
from pipeline.verification.shards.files import owners_of
from pipeline.verification.shards.png_batch import PngDecoder
from pipeline.verification.shards.stream import HashedStream

TAR = "sample-rank3/sample-rank3-train-000000.tar"


def png(lines: np.ndarray) -> bytes:
    """A PNG of rows that are filtered already, uint8 (h, 1 + 3 w)."""
    height, width = lines.shape[0], lines.shape[1] // 3

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines.tobytes()))
        + chunk(b"IEND", b"")
    )


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32), st.data())
def test_rows_of_every_filter_are_what_pillow_makes_of_them(height: int, width: int, seed: int, data: Any) -> None:
    lines = np.random.default_rng(seed).integers(0, 256, (2, height, 1 + 3 * width), dtype=np.uint8)
    lines[:, :, 0] = data.draw(arrays(np.uint8, (2, height), elements=st.integers(0, 4)))
    pixels = np.empty((2, height, 3 * width), np.uint8)
    for i, (image, found) in enumerate(zip(lines, pixels, strict=True)):
        assert png_loops.unfilter(image.reshape(-1), width, pixels.reshape(-1), i * found.size)
        assert (np.asarray(Image.open(io.BytesIO(png(image)))).reshape(height, -1) == found).all()


@settings(deadline=None)  # the first call compiles
@given(st.integers(5, 255))
def test_an_unknown_filter_is_not_taken(kind: int) -> None:
    lines = np.zeros((2, 7), np.uint8)
    lines[1, 0] = kind
    assert not png_loops.unfilter(lines.reshape(-1), 2, np.empty(12, np.uint8), 0)


def unpacked(data: bytes, checksum: int | None = None) -> np.ndarray | None:
    """What ``verify`` makes of 2 x 2 pixels deflated to ``data``."""
    chunk, pixels, spans = b"IDAT" + data, np.zeros((1, 2, 6), np.uint8), np.zeros((1, tar_loops.SPAN), np.int64)
    spans[0, [tar_loops.DATA, tar_loops.LENGTH]] = 4, len(data)
    spans[0, tar_loops.CHECKSUM] = zlib.crc32(chunk) if checksum is None else checksum
    buffer = np.frombuffer(chunk + bytes(64), np.uint8)
    return pixels if PngDecoder((2, 2)).decode(buffer, spans, pixels) else None


@settings(deadline=None)  # the first call compiles
@given(arrays(np.uint8, (2, 6)), st.integers(0, 9))
def test_deflated_rows_are_unpacked(pixels: np.ndarray, level: int) -> None:
    assert libdeflate.FOUND
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels), level)
    found = unpacked(data)
    assert found is not None and (found[0] == pixels).all()
    assert unpacked(data, zlib.crc32(data)) is None


@pytest.mark.parametrize(
    "data", [b"", b"x", zlib.compress(bytes(13)), zlib.compress(bytes(15)), zlib.compress(bytes(14))[:-1], bytes(60)]
)
def test_other_than_just_the_rows_is_not_taken(data: bytes) -> None:
    assert unpacked(data) is None


@settings(deadline=None)  # the first call compiles
@given(
    st.integers(0, 1 << 60),
    st.integers(0, 1 << 20),
    st.integers(0, 1 << 20),
    st.integers(0, 1 << 31),
    st.integers(1, 96),
)
def test_lines_of_an_index_are_what_dali_reads(offset: int, image: int, size: int, label: int, length: int) -> None:
    key, digits = "k" * length, len(str(label))
    names = [np.frombuffer(f"{key}.{end}".encode().ljust(100, b"\0"), np.uint8)[None] for end in ("png", "cls")]
    spans, lines = np.zeros((1, tar_loops.SPAN), np.int64), np.zeros(tar_loops.LINE, np.uint8)
    spans[0, [tar_loops.START, tar_loops.SIZE, tar_loops.LABEL]] = image, size, image + 512
    end = tar_loops.index(spans, offset, *names, np.array([digits]), lines)
    said = f"png {offset + image} {size} {key}.png cls {offset + image + 512} {digits} {key}.cls\n"
    assert lines[:end].tobytes().decode() == said


def test_the_law_of_a_known_image_holds_just_where_it_is_written_to() -> None:
    edges = np.array([0, 1, 2, 100, 127, 128, 129, 200, 253, 254, 255], np.uint8)
    every = np.stack(np.meshgrid(edges, edges, edges), -1).reshape(-1, 3)
    for image, low, high in every:
        x, a, b = (np.full((1, 1, 1, 1), value, np.uint8) for value in (image, low, high))
        valid = np.array([True])
        assert complement_loops.add_up(x.ravel(), a.ravel(), b.ravel()) != Bounds(x, valid).broken(a, b, valid).any()


@settings(deadline=None)  # the first call compiles
@given(arrays(np.uint8, (4, 6), elements=st.one_of(st.integers(0, 255), st.sampled_from([0, 127, 128, 255]))))
def test_the_law_of_an_unknown_image_holds_just_where_it_is_written_to(parts: np.ndarray) -> None:
    nobody = np.array([False])
    bounds = Bounds(np.zeros((1, 1, 2, 3), np.uint8), nobody)
    least, most = np.zeros(6, np.int16), np.full(6, 255, np.int16)
    for low, high in (parts[:2], parts[2:]):
        broken = bounds.broken(low.reshape(1, 1, 2, 3), high.reshape(1, 1, 2, 3), ~nobody).any()
        assert complement_loops.narrow(least, most, low, high) != broken
        if broken:
            return


def test_a_band_holds_just_where_it_is_the_difference_of_its_ends() -> None:
    edges = [0, 1, 2, 100, 127, 128, 129, 200, 253, 254, 255]
    for more in edges:
        for less in edges:
            clipped = {more, less} & {0, 255}
            for band in range(256):
                right = bool(clipped) or band == min(max(more - less + 128, 0), 255)
                assert complement_loops.differ(*(np.array([value], np.uint8) for value in (band, more, less))) == right


@settings(deadline=None)  # the first call compiles
@given(arrays(np.uint8, st.tuples(st.integers(0, 40), st.sampled_from([3, 6, 96]))))
def test_sums_are_those_of_whole_numbers(rows: np.ndarray) -> None:
    sums, squares = np.zeros(3, np.uint64), np.zeros(3, np.uint64)
    ends = complement_loops.moments(rows, sums, squares)
    assert ends == np.count_nonzero((rows == 0) | (rows == 255))
    levels = rows.reshape(-1, 3).astype(object)
    assert [sums.tolist(), squares.tolist()] == [
        levels.sum(axis=0).tolist() or [0] * 3,
        (levels**2).sum(axis=0).tolist(),
    ]


def test_sums_of_more_rows_than_add_up_in_32_bits() -> None:
    sums, squares = np.zeros(3, np.uint64), np.zeros(3, np.uint64)
    complement_loops.moments(np.full((200_000, 3), 255, np.uint8), sums, squares)
    assert squares.tolist() == [200_000 * 255**2] * 3


@settings(deadline=None)  # the first call compiles
@given(st.binary(min_size=1, max_size=4000), st.integers(0, 600))
def test_any_bytes_end_without_a_sample(content: bytes, at: int) -> None:
    buffer = np.frombuffer(content, np.uint8)
    names = np.full((1, tar_loops.NAME), 65, np.uint8)
    texts, spans, few = np.full((1, 10), 49, np.uint8), np.empty((1, tar_loops.SPAN), np.int64), np.zeros(33, np.uint8)
    at = min(at, len(content))
    found, _ = tar_loops.samples(
        buffer, at, len(content), 0, names, names, texts, np.array([1]), few, few[:12], 1 << 20, spans
    )
    assert found in (-1, 0)


def test_a_stream_gives_every_byte_once_and_its_hash(tmp_path: Path) -> None:
    content = random.Random(3).randbytes(5_000_000)
    (tmp_path / "file").write_bytes(content)
    stream, used, choose = HashedStream(tmp_path / "file"), b"", random.Random(4)
    while stream.more():
        assert stream.offset == len(used)
        take = choose.randrange(stream.end - stream.at + 1)
        used += stream.buffer[stream.at : stream.at + take].tobytes()
        stream.at += take
    assert used + stream.buffer[stream.at : stream.end].tobytes() == content

    assert stream.digest() == hashlib.sha256(content).hexdigest()


# Lines of a list of samples

_LINE = b'{"key": "train-00000012", "label": 3, "name": "cats/one.png"}\n'
_PIECES = st.sampled_from([*b'"\\{},: -0123456789/\n\x00\x7f\x80', *b"aeklmnrtuy"])


@given(st.lists(st.tuples(st.integers(0, len(_LINE) - 1), st.booleans(), st.lists(_PIECES, max_size=3)), max_size=3))
@example([(10, True, [*b'"'])])
@example([(21, True, [*b"00"]), (34, True, [*b"0"])])
@example([(21, True, [*b"1"]), (34, True, [*b"2147483648"])])
def test_a_line_in_the_usual_form_says_what_a_parser_of_json_reads(changes: list[tuple[int, bool, list[int]]]) -> None:
    line = bytearray(_LINE)
    for at, kept, more in changes:
        line[at : at + (not kept)] = bytes(more)
    for split in ("train", 'tra"in', "train-1"):
        with pytest.MonkeyPatch.context() as patch:
            fast = line_or_error(bytes(line), split)
            patch.setattr(listings, "_PLAIN", re.compile(b"(?!)"))
            assert line_or_error(bytes(line), split) == fast


def line_or_error(line: bytes, split: str) -> Any:
    try:
        return listings._line(line, split, 12)
    except listings.BadLine as error:
        return str(error)


# The fast way and the slow way


@pytest.fixture(scope="module", params=["low,high,full", "low,high", "low,high --bands 3:12 --radii 4"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("screen") / "out"
    given = ["--ranks", "3,12", "--samples-per-shard", "8", "--limit", "10", "--components", *request.param.split()]
    assert build_command.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    return out


def parts(out: Path) -> tuple[Manifest, Callable[[], Work]]:
    """The manifest, and the first shard's work as it stands."""
    manifest = load(out, Faults())

    def work() -> Work:
        shard = manifest.shards[0]
        return _work(shard, read_listings(manifest, None, Faults())[shard.split], [2, 5], None)

    return manifest, work


def slowly(manifest: Manifest, work: Work) -> Result:
    return ShardProof(manifest, owners_of(manifest), work, None).run()


def test_both_ways_find_the_same(built: Path) -> None:
    manifest, work = parts(built)
    fast, slow = screen(manifest, work(), None), slowly(manifest, work())
    assert fast is not None
    assert (fast.faults.count, slow.faults.count) == (0, 0)
    for name in ("bytes", "samples", "fitted", "paired", "recomputed", "counts"):
        assert getattr(fast, name) == getattr(slow, name)
    for of, moments in slow.moments.items():
        assert (fast.moments[of].pixels, fast.moments[of].ends) == (moments.pixels, moments.ends)
        assert np.allclose(fast.moments[of].sums, moments.sums, rtol=1e-12)
        assert np.allclose(fast.moments[of].squares, moments.squares, rtol=1e-12)


def test_without_libdeflate_s_functions_all_is_left_to_the_slow_way(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, work = parts(built)
    monkeypatch.setattr(libdeflate, "FOUND", False)
    assert screen(manifest, work(), None) is None
    assert slowly(manifest, work()).faults.count == 0


def test_whatever_is_flipped_is_left_to_the_slow_way(built: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    manifest, work = parts(out)
    choose = random.Random(5)
    right = (out / TAR).read_bytes()
    for _ in range(60):
        at = choose.randrange(len(right))
        (out / TAR).write_bytes(right[:at] + bytes([right[at] ^ (1 << choose.randrange(8))]) + right[at + 1 :])
        assert screen(manifest, work(), None) is None
    for content in (b"", right[:-512], right + bytes(512), right[512:], right[: len(right) // 2]):
        (out / TAR).write_bytes(content)
        assert screen(manifest, work(), None) is None
    (out / TAR).write_bytes(right)
    assert screen(manifest, work(), None) is not None


@pytest.mark.parametrize("edit", ["pixel", "filter", "label", "key", "length"])
def test_what_is_wrong_under_a_hash_that_fits_is_left_to_the_slow_way(built: Path, tmp_path: Path, edit: str) -> None:
    """The hash is told to be that of the edited file: only what is in it can tell."""

    out = Path(shutil.copytree(built, tmp_path / "out"))
    manifest, work = parts(out)
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
        changed = png(lines if edit != "length" else lines[:31])
        head = content[:124] + b"%011o" % len(changed) + content[135:512]
        head[148:156] = b"%06o\0 " % (sum(head[:148]) + 256 + sum(head[156:512]))
        content[:label] = head + changed + bytes(-len(changed) % 512)
    (out / TAR).write_bytes(content)
    claim = manifest.files[TAR]._replace(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    manifest = replace(manifest, files=manifest.files | {TAR: claim})
    assert screen(manifest, work(), None) is None
    assert slowly(manifest, work()).faults.count
