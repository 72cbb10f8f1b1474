"""A list of class names in JSON, and the labels of folders by it."""

import json
from collections.abc import Iterator

from pipeline import class_names
from pipeline.errors import PipelineError
from pipeline.sources.class_list import read_class_list
from tests.fuzz.place import folder

ALLOWED = (PipelineError,)
JSON = True
_FILE = folder() / "classes.json"


def seeds() -> Iterator[bytes]:
    yield json.dumps(["tench", "crane", "crane", "0", " Hündin "]).encode()
    yield json.dumps({"classes": ["n01440764 tench, Tinca tinca", "n01443537 goldfish"], "format": 2}).encode()
    yield json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}).encode()


def parse(data: bytes) -> None:
    _FILE.write_bytes(data)
    classes = read_class_list(_FILE)
    names = classes.names
    assert names and len({*names}) == len(names)
    assert all(len({*made(names)}) == len(names) for made in (class_names.unique, class_names.lines))
    labels = classes.labels(names[:3], "a folder")
    assert [*labels.values()] == [0, 1, 2][: len(names)]
