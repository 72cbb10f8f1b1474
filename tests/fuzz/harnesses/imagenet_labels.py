"""The labels of ImageNet's validation images: the devkit (packed by the harness, unless it is packed), a list, a table."""

import gzip
import io
import tarfile
from collections.abc import Iterator

from pipeline.errors import PipelineError
from pipeline.sources.imagenet import manifest
from pipeline.sources.imagenet.labels import DEVKIT, LIST, TABLE, find_labels
from tests.fuzz import repair
from tests.fuzz.place import folder
from tests.unit.sources.make_imagenet import devkit, tar_bytes

ALLOWED = (PipelineError,)
JSON = False
_SYNSETS = manifest.load().synsets
_FORMS = (f"{DEVKIT}.tar.gz", LIST, TABLE)


def seeds() -> Iterator[bytes]:
    files = [(f"{DEVKIT}/{name}", content) for name, content in devkit(["n01440764", "n01443537"]).items()]
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        yield tar_bytes(files, form)
    yield gzip.compress(tar_bytes(files), mtime=0)
    sparse = tarfile.TarInfo(f"{DEVKIT}/data/meta.mat")
    sparse.type = tarfile.GNUTYPE_SPARSE
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(sparse)
    yield buffer.getvalue()
    yield b"n01440764\nn01443537\n"
    yield b"ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4\n"


def parse(data: bytes) -> None:
    for form in _FORMS:
        path = folder() / form
        packed = form.endswith(".gz") and data[:2] != b"\x1f\x8b"
        path.write_bytes(gzip.compress(repair.tar(data), 1, mtime=0) if packed else data)
        try:
            labels = find_labels([folder()], "images", _SYNSETS)
        except PipelineError as error:
            refused = error
            continue
        finally:
            path.unlink()
        assert set(labels.synsets.values()) <= set(_SYNSETS)
        return
    raise refused
