"""A WebDataset: a shard, with labels in ``cls`` or ``json`` members, and the file of class names beside it."""

import contextlib
import tarfile
from collections.abc import Iterator

from pipeline import class_names
from pipeline.errors import PipelineError
from pipeline.sources.webdataset.classes import read_classes
from pipeline.sources.webdataset.scan import scan_shard
from tests.fuzz import repair
from tests.fuzz.place import folder
from tests.unit.sources.make_imagenet import tar_bytes

ALLOWED = (PipelineError,)
JSON = False
_PATH = folder() / "train-0.tar"


def seeds() -> Iterator[bytes]:
    yield b"cat\ndog\n"
    yield "\ufeff<b>Katze</b>\r\n- [x]: &a *b\r\n\x1b[31m\ncrane\ncrane (1)\ntab\there\u2028\u00a0".encode()
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        yield tar_bytes([("a.jpg", b"image"), ("a.cls", b"3"), ("b.c.png", b"image"), ("b.cls", b"+4\n")], form)
        yield tar_bytes([("d/a.png", b"image"), ("d/a.json", b'{"label": 3, "more": [1.5, null]}')], form)
        long = "x" * 60 + "/" + "y" * 60
        yield tar_bytes([(f"{long}.png", b"image"), (f"{long}.cls", b"7"), ("__key__", b"")], form)


def _names(data: bytes) -> None:
    (folder() / "classnames.txt").write_bytes(data)
    classes = read_classes(folder(), None)
    assert classes is not None
    for names in (class_names.unique(classes.names), class_names.lines(classes.names)):
        assert len(set(names)) == len(names) == len(classes.names)
        assert all("\n" not in name and "\r" not in name and name.encode() for name in names)


def parse(data: bytes) -> None:
    with contextlib.suppress(PipelineError):
        _names(data)
    _PATH.write_bytes(repair.tar(data))
    for label_key in (None, "label"):
        try:
            samples = scan_shard(_PATH, label_key)
        except PipelineError as error:
            refused = error
            continue
        assert len(samples.keys) == len(samples.labels) == len(samples.offsets) == len(set(samples.keys))
        assert ((samples.labels >= 0) & (samples.labels < 2**31)).all()
        assert (samples.offsets + samples.sizes).max(initial=0) <= len(data)
        return
    raise refused
