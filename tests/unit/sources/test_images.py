"""``decode_image`` gives exact planes, a reason for everything that is no image, and no warnings."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pipeline.errors import Undecodable
from pipeline.numerics.geometry import MAX_SIDE
from pipeline.sources.images import FORMATS, decode_image, header_size

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def ppm(pixels: np.ndarray) -> bytes:
    height, width, _ = pixels.shape
    return f"P6 {width} {height} 255\n".encode() + pixels.tobytes()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels: np.ndarray, size: tuple[int, int] | None = None) -> bytes:
    """Returns a PNG written by hand. ``size`` is the (height, width) in its header."""
    height, width = size or pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def saved(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(np.tile(PIXELS, (8, 8, 1)))).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("make", [ppm, png])
def test_pixels_are_those_of_the_file_as_red_green_and_blue_planes(make):
    planes = decode_image(make(PIXELS)).pixels
    assert planes.dtype == np.uint8 and planes.shape == (3, 5, 7)
    np.testing.assert_array_equal(planes, np.stack([PIXELS[..., 0], PIXELS[..., 1], PIXELS[..., 2]]))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_allowed_format_is_read_with_its_size(kind):
    raw = saved(kind)
    assert decode_image(raw).pixels.shape == (3, 40, 56)
    assert header_size(raw) == (40, 56)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_colour_mode_becomes_three_planes(mode):
    raw = saved("TIFF" if mode == "CMYK" else "PNG", Image.fromarray(PIXELS).convert(mode))
    assert decode_image(raw).pixels.shape == (3, 5, 7)


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_grey_values_that_pillow_would_cut_off_are_refused(mode):
    raw = saved("TIFF" if mode == "F" else "PNG", Image.fromarray(PIXELS).convert("L").convert(mode))
    with pytest.raises(Undecodable, match="more than 8 bits a channel"):
        decode_image(raw)


@pytest.mark.parametrize(
    ("kind", "size"), [("JPEG", (40, 56)), ("PNG", (40, 56)), ("WEBP", (40, 56)), ("TIFF", (56, 40))]
)
def test_exif_orientation_is_not_applied_but_by_pillow_to_a_tiff(kind, size):
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer would rotate it by 90 degrees
    raw = saved(kind, exif=exif)
    assert decode_image(raw).pixels.shape == (3, *size)
    assert header_size(raw) == size


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PDF"])
def test_formats_that_are_not_allowed_are_refused(kind):
    with pytest.raises(Undecodable, match="not an image in one of the formats PNG, JPEG"):
        decode_image(saved(kind))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty file"),
        (b"these are no pixels\n", "not an image in one of the formats"),
        (saved("JPEG")[:600], "truncated"),
        (saved("PNG")[:150], "truncated"),
        (png(PIXELS)[:60], "truncated|damaged"),
        (png(PIXELS).replace(b"IDAT", b"IDAX"), "not an image|damaged"),
        (png(PIXELS, (MAX_SIDE + 1, 1)), f"too large: {MAX_SIDE + 1} x 1 pixels, at most {MAX_SIDE} a side"),
        (png(PIXELS, (14_900, 14_900)), "too many pixels"),
        (png(PIXELS, (2**31 - 1, 2**31 - 1)), "too many pixels"),
    ],
)
def test_what_cannot_be_decoded_is_reported_by_a_reason(raw, reason):
    with pytest.raises(Undecodable, match=f"^({reason})"):
        decode_image(raw)


@given(
    raw=st.sampled_from([saved(kind) for kind in FORMATS]),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
)
def test_damage_gives_pixels_or_the_same_short_reason_each_time(raw, cut, changes):
    damaged = bytearray(raw[: 16 + int(cut * len(raw))])
    for place, value in changes:
        damaged[int(place * (len(damaged) - 1))] = value
    results = []
    for _ in range(2):
        try:
            planes = decode_image(bytes(damaged)).pixels
            assert planes.dtype == np.uint8 and planes.ndim == 3 and planes.shape[0] == 3
            results.append(planes.tobytes())
        except Undecodable as error:
            assert "0x" not in str(error) and "/" not in str(error) and len(str(error)) < 100
            results.append(str(error))
    assert results[0] == results[1]


@given(raw=st.binary(max_size=200))
def test_random_bytes_are_undecodable(raw):
    with pytest.raises(Undecodable):
        decode_image(raw)


def with_chunks(chunks: bytes) -> bytes:
    """Returns a PNG of ``PIXELS`` with chunks before its pixels."""
    raw = png(PIXELS)
    return raw[:33] + chunks + raw[33:]


@pytest.mark.parametrize(
    ("kind", "before"),
    [(b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")],
    ids=["zTXt", "iTXt", "iCCP"],
)
def test_a_large_text_or_colour_profile_of_a_png_costs_no_image(kind, before):
    raw = with_chunks(png_chunk(kind, before + zlib.compress(bytes(3 << 20))))
    np.testing.assert_array_equal(decode_image(raw).pixels, PIXELS.transpose(2, 0, 1))


def test_a_bomb_of_text_is_refused():
    chunk = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * (1 << 20)))
    assert decode_image(with_chunks(chunk * 60)).pixels.shape == (3, 5, 7)
    with pytest.raises(Undecodable, match="damaged"):
        decode_image(with_chunks(chunk * 70))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_damaged_metadata_costs_no_image(kind):
    """Image n04532106_1553.JPEG of ImageNet has an XMP packet that is no UTF-8."""
    raw = saved(kind, xmp=b'<x:xmpmeta tiff:Orientation="6" \xa8\xff>')
    assert decode_image(raw).pixels.shape == (3, 40, 56)


def test_a_lack_of_memory_is_not_the_images_fault(monkeypatch):
    def starved(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", starved)
    with pytest.raises(MemoryError):
        decode_image(saved("PNG"))


def test_nothing_is_written_to_the_terminal(tmp_path):
    """Pillow warns and logs, and libtiff writes to stderr itself."""
    palette = Image.fromarray(PIXELS).convert("P")
    files = [
        saved("PNG", palette, transparency=bytes(range(200))),
        png(PIXELS, (9600, 9600)),  # a "decompression bomb" warning, not an error
        *(saved("TIFF", compression=kind)[:-300] for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        saved("TIFF", compression="tiff_lzw").replace(b"\x02\x01\x03", b"\x99\x99\x07"),
    ]
    for number, raw in enumerate(files):
        (tmp_path / f"{number}.bin").write_bytes(raw)
    script = """
import pathlib, sys
from pipeline.errors import Undecodable
from pipeline.sources.images import decode_image
for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        decode_image(file.read_bytes())
    except Undecodable:
        pass
"""
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_photograph_with_a_preview_is_its_first_picture(mode):
    """Phones write JPEG files with further pictures behind the first (MPO): previews, depth, the other eye."""
    first, second = (Image.fromarray(np.full((40, 56, 3), grey, np.uint8)).convert(mode) for grey in (50, 200))
    picture = decode_image(saved("MPO", first, save_all=True, append_images=[second]))
    assert picture.converted == ("grey" if mode == "L" else "")
    assert abs(picture.pixels.astype(int) - 50).max() <= 2


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_are_still_counted(kind):
    frames = [Image.fromarray(np.full((8, 8, 3), grey, np.uint8)) for grey in (50, 100, 200)]
    assert decode_image(saved(kind, frames[0], save_all=True, append_images=frames[1:])).converted == "animated"
