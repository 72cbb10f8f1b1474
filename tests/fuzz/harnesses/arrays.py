"""NumPy arrays: the header and the values of ``.npy`` files, and ``.npz`` archives."""

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator

import numpy as np

from pipeline.errors import PipelineError, Undecodable
from pipeline.sources import open_source
from tests.fuzz.place import cache, folder

ALLOWED = (PipelineError,)
JSON = False
_ROOT = folder() / "arrays"
_IMAGES = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
_LABELS = np.array([1, 0, 1])


def _bytes(save: Callable[..., None], *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


def seeds() -> Iterator[bytes]:
    floats, planes = _IMAGES.astype("f4") / np.float32(255), _IMAGES.transpose(0, 3, 1, 2).copy()
    yield from (_bytes(np.save, images) for images in (_IMAGES, floats, floats.astype(">f8"), planes, _IMAGES[..., 0]))
    yield _bytes(np.save, _LABELS)
    for save in (np.savez, np.savez_compressed):
        yield _bytes(save, images=_IMAGES, labels=_LABELS)
        yield _bytes(save, train_images=_IMAGES, train_labels=_LABELS[:, None], test_images=floats, test_labels=_LABELS)


def _file(data: bytes) -> str:
    """Returns where the input is read: as an archive, as labels, or as images."""
    if zipfile.is_zipfile(io.BytesIO(data)) or data[:2] == b"PK":
        return "a.npz"
    return "labels.npy" if len(data) < 180 else "images.npy"


def parse(data: bytes) -> None:
    shutil.rmtree(_ROOT, ignore_errors=True)
    _ROOT.mkdir()
    name = _file(data)
    if name != "a.npz":
        np.save(_ROOT / "images.npy", _IMAGES)
        np.save(_ROOT / "labels.npy", _LABELS)
    (_ROOT / name).write_bytes(data)
    with cache():
        source = open_source("arrays", _ROOT)
        index = source.index()
    for split in index.splits.values():
        assert split.labels.min() >= 0 and split.labels.max() < len(index.classes)
        for number in range(min(len(split), 10)):
            try:
                pixels = source.decode(source.read(split.entry(number))).pixels
            except (OSError, Undecodable) as error:  # a damaged disk, or values that are no grey levels
                assert str(error)
                continue
            assert pixels.dtype == np.uint8 and pixels.shape[0] == 3
