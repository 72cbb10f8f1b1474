"""Finds the expected samples of a shard in the tar of one variant."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pipeline.storage.files import TooLong
from pipeline.verification.faults import counted, printable
from pipeline.verification.listings import Sample
from pipeline.verification.shards.tar import Member, TarError

Report = Callable[[str], None]


class StoredSample(NamedTuple):
    """An expected sample as the tar stores it: its image file, and the line that the DALI index must have for it."""

    image: bytes
    index_line: str


def read_samples(
    stream: Iterator[Member], expected: Sequence[Sample], form: str, report: Report
) -> Iterator[StoredSample | None]:
    """Yields for every expected sample, in order, what the tar stores of it; None if it is missing.

    Exhaust it: faults in the rest of the tar are reported at the end.

    Args:
        stream: the members of the tar.
        form: suffix of the image members.
        report: called with one line for each fault.
    """
    places = {sample.key: place for place, sample in enumerate(expected)}
    following = 0
    missing, foreign, repeated = _Group(), _Group(), _Group()
    for key, image, label in _pairs(stream, form, report):
        place = places.get(key)
        if place is None:
            foreign.add(key)
        elif place < following:
            repeated.add(key)
        else:
            for sample in expected[following:place]:
                missing.add(sample.key)
                yield None
            digits = b"%d" % expected[place].label
            if label.data != digits:
                text = printable(label.data.decode("latin-1"), 20)
                report(f"{key}: label {text}, should be {expected[place].label}")
            line = (
                f"{form} {image.offset} {len(image.data)} {image.name} cls {label.offset} {len(label.data)} {key}.cls"
            )
            yield StoredSample(image.data, line)
            following = place + 1
    for sample in expected[following:]:
        missing.add(sample.key)
        yield None
    missing.report("missing", report)
    foreign.report("not of this shard", report)
    repeated.report("twice or out of order", report)


class _Group:
    """Samples with the same fault, reported in one line."""

    def __init__(self) -> None:
        self.first, self.count = "", 0

    def add(self, key: str) -> None:
        self.first = self.first or key
        self.count += 1

    def report(self, fault: str, report: Report) -> None:
        if self.count == 1:
            report(f"{printable(self.first)}: {fault}")
        elif self.count:
            report(f"{counted(self.count, 'sample')} {fault}, the first {printable(self.first)}")


def _pairs(stream: Iterator[Member], form: str, report: Report) -> Iterator[tuple[str, Member, Member]]:
    """Yields key, image and label of every ``key.png`` that a ``key.cls`` follows; reports all other members."""
    suffix = f".{form}"
    image: Member | None = None
    key = ""
    try:
        for member in stream:
            name = member.name
            if member.problem:
                report(f"{printable(name)}: {member.problem}")
            if image is not None:
                if name == f"{key}.cls":
                    yield key, image, member
                    image = None
                    continue
                report(f"{printable(image.name)}: no .cls follows it")
            image = member if name.endswith(suffix) else None
            key = name[: -len(suffix)]
            if image is None:
                report(f"{printable(name)}: neither an image nor the label of the image before it")
        if image is not None:
            report(f"{printable(image.name)}: no .cls follows it")
    except TarError as error:
        report(str(error))
    except TooLong as error:
        report(f"{error.strerror}, and is not read any further")
