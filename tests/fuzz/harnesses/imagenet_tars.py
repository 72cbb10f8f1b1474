"""ImageNet's archives: a tar of one tar per synset, and a tar of validation images."""

import io
import os
import tarfile
from collections.abc import Iterator

from pipeline.errors import PipelineError
from pipeline.sources.imagenet import manifest
from pipeline.sources.imagenet.archive import list_train, list_val
from pipeline.sources.imagenet.manifest import Archive
from tests.fuzz import repair
from tests.fuzz.place import folder

ALLOWED = (PipelineError,)
JSON = False
_PATH = folder() / "images.tar"
_KNOWN = Archive("images.tar", "", 0)
_SYNSETS = manifest.load().synsets
_FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
os.environ["XDG_CACHE_HOME"] = os.devnull  # no saved index: every input is scanned


def _tar(files: dict[str, bytes], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def seeds() -> Iterator[bytes]:
    for form in _FORMATS:
        inner = _tar({"n01440764_1.JPEG": b"image", "n01440764_2.JPEG": b"another"}, form)
        yield _tar({"n01440764.tar": inner}, form)
        yield _tar({"ILSVRC2012_val_00000001.JPEG": b"image", f"val/{'x' * 60}/{'y' * 60}": b"a long name"}, form)
        yield _tar({"./val/ILSVRC2012_val_00000002.JPEG": b"image"}, form)


def parse(data: bytes) -> None:
    _PATH.write_bytes(repair.tar(data))
    for scan in (lambda: list_train(_PATH, _KNOWN, _SYNSETS), lambda: list_val(_PATH, _KNOWN)):
        try:
            images = scan()
        except PipelineError as error:
            refused = error
            continue
        assert len(images.names) == len(images.offsets) == len(images.sizes) == len(set(images.names))
        assert (images.offsets + images.sizes).max(initial=0) <= len(data) and (images.sizes >= 0).all()
        return
    raise refused
