"""The devkit's ``meta.mat``."""

from collections.abc import Iterator

from pipeline.errors import PipelineError
from pipeline.sources.imagenet.meta import read_synsets
from tests.unit.sources.make_imagenet import devkit

ALLOWED = (PipelineError,)
JSON = False


def seeds() -> Iterator[bytes]:
    for compressed in (False, True):
        yield devkit(["n01440764", "n01443537"], compressed)["data/meta.mat"]


def parse(data: bytes) -> None:
    synsets = read_synsets(data, "meta.mat")
    assert synsets and all(type(number) is int and type(synset) is str for number, synset in synsets.items())
