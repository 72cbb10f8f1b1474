"""A shard as ``verify`` reads it. Images that it accepts are those that Pillow decodes."""

import io
from collections.abc import Iterator

import numpy as np

from pipeline.verification.faults import Faults
from pipeline.verification.listings import Sample, read_listings
from pipeline.verification.manifest.document import load
from pipeline.verification.shards.image import decode_all, decode_by_pillow
from pipeline.verification.shards.tar import TarError, members
from pipeline.verification.shards.tar_samples import read_samples
from pipeline.verification.verify_output import shard_work
from tests.fuzz import repair
from tests.fuzz.place import output

ALLOWED = (TarError,)
JSON = False
_SHAPE = (4, 4)
_LARGEST = 1 << 20
_samples: list[Sample] = []


def seeds() -> Iterator[bytes]:
    manifest = load(output(), Faults())
    listing = read_listings(manifest, None, Faults())["train"]
    _samples[:] = shard_work(manifest.shards[1], listing, [], None).samples() or []
    assert _samples
    yield from (path.read_bytes() for path in sorted(output().glob("folder-*/*-000001.tar")))


def parse(data: bytes) -> None:
    content = repair.images(repair.tar(data))
    for form in ("png", "npy"):
        lines: list[str] = []
        stream = members(io.BytesIO(content), _LARGEST, {})
        stored = list(read_samples(stream, _samples, form, lines.append))
        assert len(stored) == len(_samples) and all("\n" not in line for line in lines)
        images = [sample and sample.image for sample in stored]
        pixels, errors = decode_all(images, _SHAPE, form)
        assert pixels.shape == (len(_samples), *_SHAPE, 3)
        for place, image in enumerate(images):
            if form == "png" and image is not None and place not in errors:
                assert np.array_equal(decode_by_pillow(image), pixels[place])
    for member in members(io.BytesIO(content), _LARGEST, {}):
        assert member.offset + len(member.data) <= len(content)
