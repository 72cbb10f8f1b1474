"""A shard as ``verify`` reads it, fast and slowly: what the fast way takes, the slow one must take for the same."""

import contextlib
import io
from collections.abc import Iterator

import numpy as np

from pipeline.verification.faults import Faults
from pipeline.verification.listings import Sample, read_listings
from pipeline.verification.manifest.document import load
from pipeline.verification.prove import _work
from pipeline.verification.shards.image import BadImage, decode
from pipeline.verification.shards.png_batch import PngReader, names_of
from pipeline.verification.shards.stream import HashedStream
from pipeline.verification.shards.tar import TarError, members
from pipeline.verification.shards.tar_walk import walk
from tests.fuzz import repair
from tests.fuzz.place import folder, output

ALLOWED = (TarError,)
JSON = False
_SHAPE = (4, 4)
_samples: list[Sample] = []


def seeds() -> Iterator[bytes]:
    manifest = load(output(), Faults())
    listing = read_listings(manifest, None, Faults())["train"]
    _samples[:] = _work(manifest.shards[1], listing, [], None).samples() or []
    assert _samples
    tars = [path.read_bytes() for path in sorted(output().glob("folder-*/*-000001.tar"))]
    assert any(_fast(tar) is not None for tar in tars)  # compiles it, too
    yield from tars


def _fast(content: bytes) -> np.ndarray | None:
    (folder() / "fast.tar").write_bytes(content)
    stream = HashedStream(folder() / "fast.tar")
    try:
        pixels = np.zeros((len(_samples), _SHAPE[0], 3 * _SHAPE[1]), np.uint8)
        reader = PngReader(stream, _SHAPE)
        return pixels if reader.read(_samples, names_of(_samples), pixels) and reader.at_end() else None
    finally:
        stream.close()


def parse(data: bytes) -> None:
    content = repair.images(repair.tar(data))
    taken = _fast(content)
    for form in ("png", "npy"):
        said: list[str] = []
        found = list(walk(io.BytesIO(content), _samples, _SHAPE, form, said.append))
        assert len(found) == len(_samples) and all("\n" not in line for line in said)
        images = []
        for one in found:
            with contextlib.suppress(BadImage):
                images.append(decode(one.image if one else b"", _SHAPE, form))
        if form == "png" and taken is not None:
            assert said == [] and np.array_equal(np.stack(images).reshape(taken.shape), taken)
    for member in members(io.BytesIO(content), 1 << 20):
        assert member.offset + len(member.data) <= len(content)
