"""One shard of one variant against the samples that it must hold."""

from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from pipeline.storage.files import TooLong
from pipeline.verification.faults import counted, shown
from pipeline.verification.listings import Sample
from pipeline.verification.shards.image import largest
from pipeline.verification.shards.tar import Member, TarError, members

Say = Callable[[str], None]


class Pair(NamedTuple):
    """A sample's two members, as they lie side by side."""

    key: str
    image: Member
    label: Member


class Found(NamedTuple):
    """A sample in its place: its image file, and its line of a DALI index."""

    image: bytes
    index_line: str


def walk(
    file: BinaryIO, expected: list[Sample], shape: tuple[int, int] | None, form: str, say: Say
) -> Iterator[Found | None]:
    """For every expected sample, in order, what the tar has of it; None where it is missing.

    Exhaust it: what is wrong with the rest of the tar is said at the end.

    Args:
        shape: (height, width) of the images, which bounds what is read; None where they differ.
        form: suffix of the image members.
        say: takes a line for each fault.
    """
    places = {sample.key: place for place, sample in enumerate(expected)}
    at = 0
    missing, foreign, repeated = _Group(), _Group(), _Group()
    for pair in _pairs(members(file, largest(shape, form)), form, say):
        place = places.get(pair.key)
        if place is None:
            foreign.add(pair.key)
        elif place < at:
            repeated.add(pair.key)
        else:
            for sample in expected[at:place]:
                missing.add(sample.key)
                yield None
            yield _found(pair, expected[place], form, say)
            at = place + 1
    for sample in expected[at:]:
        missing.add(sample.key)
        yield None
    missing.say("missing", say)
    foreign.say("not of this shard", say)
    repeated.say("twice or out of order", say)


class _Group:
    """Samples with the same fault, which become one line."""

    def __init__(self) -> None:
        self.first, self.count = "", 0

    def add(self, key: str) -> None:
        self.first = self.first or key
        self.count += 1

    def say(self, what: str, say: Say) -> None:
        if self.count == 1:
            say(f"{shown(self.first)}: {what}")
        elif self.count:
            say(f"{counted(self.count, 'sample')} {what}, the first {shown(self.first)}")


def _pairs(stream: Iterator[Member], form: str, say: Say) -> Iterator[Pair]:
    """Members two by two: ``key.png``, then ``key.cls``. Says what does not fit and goes on with the next."""
    suffix = f".{form}"
    image: Member | None = None
    try:
        for member in stream:
            if member.problem:
                say(f"{shown(member.name)}: {member.problem}")
            if image is not None and member.name == f"{image.name[:-4]}.cls":
                yield Pair(image.name[:-4], image, member)
                image = None
                continue
            if image is not None:
                say(f"{shown(image.name)}: no .cls follows it")
            image = member if member.name.endswith(suffix) else None
            if image is None:
                say(f"{shown(member.name)}: neither an image nor the label of the image before it")
        if image is not None:
            say(f"{shown(image.name)}: no .cls follows it")
    except TarError as error:
        say(str(error))
    except TooLong as error:
        say(f"{error.strerror}, and is not read any further")


def _found(pair: Pair, sample: Sample, form: str, say: Say) -> Found:
    label = b"%d" % sample.label
    if pair.label.data != label:
        say(f"{sample.key}: label {shown(pair.label.data.decode('latin-1'), 20)}, should be {sample.label}")
    image, text = pair.image, pair.label
    line = f"{form} {image.offset} {len(image.data)} {image.name} cls {text.offset} {len(text.data)} {text.name}"
    return Found(image.data, line)
