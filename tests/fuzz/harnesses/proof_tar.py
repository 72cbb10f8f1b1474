"""A shard as ``verify`` walks through it."""

import contextlib
import io
from collections.abc import Iterator

from pipeline.proof.image import BadImage, decode
from pipeline.proof.samples import Sample
from pipeline.proof.tar import TarError, members
from pipeline.proof.walk import walk
from tests.fuzz import repair
from tests.fuzz.place import output

ALLOWED = (TarError,)
JSON = False
_EXPECTED = [Sample(number, f"train-{number:08d}", number, number % 2, "") for number in range(8)]


def seeds() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in sorted(output().glob("folder-*/*-000001.tar")))


def parse(data: bytes) -> None:
    content = repair.tar(data)
    said: list[str] = []
    for form in ("png", "npy"):
        found = list(walk(io.BytesIO(content), _EXPECTED, (4, 4), form, said.append))
        assert len(found) == len(_EXPECTED)
        for one in found:
            with contextlib.suppress(BadImage):
                decode(one.image if one else b"", (4, 4), form)
    assert all("\n" not in line for line in said)
    for member in members(io.BytesIO(content), 1 << 20):
        assert member.offset + len(member.data) <= len(content)
