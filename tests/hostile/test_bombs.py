"""Small files that unpack to much are rejected or refused with a reason, in bounded memory and time."""

import gzip
import io
import struct
import subprocess
import sys
import tarfile
import zlib

import pytest
from PIL import Image

from pipeline import rank_image
from pipeline.errors import PipelineError
from tests.unit.sources.make_imagenet import tar_bytes

SIDE = 60_000
MOST = 150 << 20  # bytes above a build of the same folder without bombs


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (8, 8)).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(size: int) -> bytes:
    """Returns the raw deflate stream of so many zeros, made of copies of one block of a megabyte."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    return block * (size >> 20) + rest.compress(bytes(size % (1 << 20))) + rest.flush()


def zlib_zeros(size: int) -> bytes:
    """Returns the same with the header and the checksum (Adler-32) of zlib."""
    return b"\x78\xda" + zeros(size) + struct.pack(">HH", size % 65521, 1)


def gzip_zeros(size: int) -> bytes:
    """Returns the same with the header and the checksum (CRC-32) of gzip."""
    return gzip.compress(b"")[:10] + zeros(size) + struct.pack("<II", zlib.crc32(bytes(size)), size)


def png(width: int, height: int, *between: bytes) -> bytes:
    """Returns a PNG of one bit per pixel, complete: its size is a thousandth of the pixels'."""
    body = zlib_zeros(height * (1 + (width + 7) // 8))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(between) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    raw = bytearray(saved("JPEG"))
    at = raw.index(b"\xff\xc0") + 5  # height and width of the frame
    raw[at : at + 4] = struct.pack(">HH", SIDE, SIDE)
    return bytes(raw)


def tiff() -> bytes:
    """Sets width and height, which are the tags 256 and 257, as 16-bit numbers."""
    raw = saved("TIFF")
    for tag in (256, 257):
        small, large = (struct.pack("<HHII", tag, 3, 1, side) for side in (8, SIDE))
        assert small in raw or struct.pack("<HHII", tag, 4, 1, 8) in raw
        raw = raw.replace(small, large).replace(
            struct.pack("<HHII", tag, 4, 1, 8), struct.pack("<HHII", tag, 4, 1, SIDE)
        )
    return raw


def webp(side: int) -> bytes:
    """Returns an extended file: the canvas has the size in its header, whatever the frame has."""
    frame = saved("WEBP", lossless=True)[12:]
    less = (side - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + less + less
    animation = b"ANIM" + struct.pack("<I", 6) + bytes(6)
    frames = b"ANMF" + struct.pack("<I", 16 + len(frame)) + bytes(6) + (7).to_bytes(3, "little") * 2 + bytes(4) + frame
    extended = extended.replace(bytes(4) + less, b"\x02" + bytes(3) + less, 1)
    body = b"WEBP" + extended + animation + frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def image_bombs() -> dict[str, bytes]:
    """Returns image files by name."""
    return {
        "all-there.png": png(SIDE, SIDE),
        "long.png": png(1 << 30, 1),
        "text.png": png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib_zeros(300 << 20)) * 2),
        "profile.png": png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib_zeros(300 << 20))),
        "header.jpg": jpeg(),
        "header.gif": saved("GIF", "P").replace(struct.pack("<HH", 8, 8), struct.pack("<HH", SIDE, SIDE), 1),
        "header.bmp": saved("BMP").replace(struct.pack("<ii", 8, 8), struct.pack("<ii", SIDE, SIDE), 1),
        "header.ppm": b"P6 60000 60000 255\n" + bytes(100),
        "header.tif": tiff(),
        "canvas.webp": webp(SIDE),
        "allowed-canvas.webp": webp(16_000),
    }


# The process's own peak: getrusage may report that of its parent.
BUILD = """
import sys
from pipeline.build import main
status = main(sys.argv[1:])
print(status, *(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("size", [0, 5, 1 << 20, (3 << 20) + 7])
def test_the_bombs_are_valid_streams(size):
    assert zlib.decompress(zlib_zeros(size)) == gzip.decompress(gzip_zeros(size)) == bytes(size)


def test_images_of_sixty_thousand_pixels_a_side_are_rejects_and_take_no_memory(tmp_path):
    bombs = image_bombs()
    for folder, contents in (("plain", {}), ("bombs", bombs)):
        (tmp_path / folder / "class").mkdir(parents=True)
        for number in range(3):
            (tmp_path / folder / "class" / f"{number}.png").write_bytes(saved("PNG"))
        for name, content in contents.items():
            assert len(content) < 2 << 20
            (tmp_path / folder / "class" / name).write_bytes(content)
    peaks = {}
    for folder in ("plain", "bombs"):
        options = ["--dataset", "folder", "--data-dir", tmp_path / folder, "--out", tmp_path / f"out-{folder}"]
        command = [sys.executable, "-c", BUILD, *map(str, options), "--ranks", "2", "--workers", "0", "--quiet"]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
        status, peaks[folder] = map(int, ran.stdout.split())
        assert status == (3 if folder == "bombs" else 0)
    rejects = (tmp_path / "out-bombs" / "rejects.jsonl").read_text()
    missing = [name for name in bombs if name not in rejects]
    assert set(missing) <= {"text.png", "profile.png"}  # their pixels are harmless
    assert peaks["bombs"] - peaks["plain"] < MOST


def test_an_image_file_of_gigabytes_is_a_reject_that_is_not_read(tmp_path):
    folder = tmp_path / "data" / "class"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(saved("PNG"))
    with open(folder / "1.png", "r+b") as file:
        file.truncate(60 << 30)
    options = ["--dataset", "folder", "--data-dir", tmp_path / "data", "--out", tmp_path / "out"]
    command = [sys.executable, "-c", BUILD, *map(str, options), "--ranks", "2", "--workers", "0", "--quiet"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    status, peak = map(int, ran.stdout.split())
    assert (status, peak < 1 << 30) == (3, True)
    (reject,) = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    assert '"class/1.png"' in reject and '"too large: 64,424,509,440 bytes, at most 1,073,741,824"' in reject
    with pytest.raises(PipelineError, match="1.png: too large"):
        rank_image(folder / "1.png", 2)


def limited(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a Python program that may use at most a gigabyte more than its imports."""
    head = "import resource, sys\nfrom pathlib import Path\nfrom pipeline.errors import PipelineError\n"
    bound = "used = int(open('/proc/self/statm').read().split()[0]) << 12\n"
    bound += "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)\n"
    ends = f"try:\n    {script}\nexcept PipelineError as error:\n    print(error)\n"
    imports = "from pipeline.sources.imagenet.labels import find_labels\n"
    imports += "from pipeline.sources.webdataset.scan import scan_shard\n"
    command = [sys.executable, "-c", head + imports + bound + ends, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def sparse_devkit() -> bytes:
    """Returns a member in GNU's old sparse format: no data, and a size of 64 gigabytes."""
    names = ["ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", "ILSVRC2012_devkit_t12/data/meta.mat"]
    blocks = bytearray(tar_bytes([(name, b"") for name in names]))
    for at in (0, 512):
        blocks[at + 156 : at + 157] = b"S"
        blocks[at + 386 : at + 482] = bytes(96)
        blocks[at + 483 : at + 495] = b"%011o\0" % (63 << 30)
        blocks[at + 148 : at + 156] = b" " * 8
        blocks[at + 148 : at + 156] = b"%06o\0 " % sum(blocks[at : at + 512])
    return gzip.compress(bytes(blocks))


def sparse_pax_devkit() -> bytes:
    """Returns the same in a pax header, where the member has the type of a plain file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("ILSVRC2012_validation_ground_truth.txt", "meta.mat"):
            member = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(63 << 30)}
            tar.addfile(member)
    return gzip.compress(buffer.getvalue())


@pytest.mark.parametrize(
    ("file", "make", "line"),
    [
        ("ILSVRC2012_devkit_t12.tar.gz", lambda: gzip_zeros(400 << 20), "unpacks to far more"),
        ("ILSVRC2012_devkit_t12.tar.gz", sparse_devkit, "lacks data/"),
        ("ILSVRC2012_devkit_t12.tar.gz", sparse_pax_devkit, "lacks data/"),
        ("imagenet_2012_validation_synset_labels.txt", lambda: b"a\n" * (7 << 20), "more than 100,000 lines"),
        ("LOC_val_solution.csv", lambda: b"ImageId,PredictionString\n" + b"\n" * (14 << 20), "more than 100,000 lines"),
        ("LOC_val_solution.csv", lambda: b"," * (15 << 20), "does not begin with the line"),
        ("LOC_val_solution.csv", lambda: b'"' * (15 << 20), "is not a table|does not begin"),
    ],
)
def test_labels_that_unpack_to_much_are_refused(tmp_path, file, make, line):
    (tmp_path / file).write_bytes(make())
    ran = limited("find_labels([Path(sys.argv[1])], 'images', ['n01440764'])", tmp_path)
    assert ran.stderr == "" and ran.stdout.count("\n") == 1
    assert any(part in ran.stdout for part in line.split("|"))


@pytest.mark.parametrize("kind", ["json", "cls"])
def test_a_label_of_gigabytes_is_refused_without_being_read(tmp_path, kind):
    path = tmp_path / "train-0.tar"
    raw = bytearray(tar_bytes([("k.png", b"image"), (f"k.{kind}", b"")]))
    raw[1024 + 124 : 1024 + 136] = b"%011o\0" % (4 << 30)
    raw[1024 + 148 : 1024 + 156] = b" " * 8
    raw[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(raw[1024:1536])
    with open(path, "wb") as file:
        file.write(raw[:1536])
        file.truncate(1536 + (4 << 30) + 1024)
    ran = limited("scan_shard(Path(sys.argv[1]), 'label' if sys.argv[2] == 'json' else None)", path, kind)
    assert "4,294,967,296 bytes: no label" in ran.stdout and ran.stderr == ""
