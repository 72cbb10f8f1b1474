"""CIFAR files of random pixels, written without the project's code."""

import hashlib
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.cifar import manifest as official
from pipeline.sources.cifar.manifest import CifarManifest, Layout

Records = tuple[np.ndarray, np.ndarray]  # labels uint8 (n,), pixels uint8 (n, 3072)


def _python2_pickle(labels: np.ndarray, pixels: np.ndarray, key: str) -> bytes:
    """Returns a batch as Python 2 wrote it: protocol 2, byte strings, ``numpy.core.multiarray``."""

    def text(word: str) -> bytes:
        return b"U" + bytes([len(word)]) + word.encode()

    shape = b"J" + struct.pack("<i", len(pixels)) + b"M" + struct.pack("<H", 3072) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
    array += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    array += struct.pack("<I", pixels.size) + pixels.tobytes() + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text("data") + array + text(key) + numbers + b"u."


def _python3_pickle(labels: np.ndarray, pixels: np.ndarray, key: str) -> bytes:
    return pickle.dumps({"data": pixels, key: labels.tolist()}, protocol=4)


def _binary(labels: np.ndarray, pixels: np.ndarray, label_bytes: int) -> bytes:
    coarse = [np.full(len(labels), 19, np.uint8)] * (label_bytes - 1)
    return np.column_stack([*coarse, labels, pixels]).tobytes()


@pytest.fixture(scope="session")
def python2_pickle() -> Callable[[np.ndarray, np.ndarray, str], bytes]:
    return _python2_pickle


@pytest.fixture(scope="session")
def write_layout() -> Callable[[Layout, dict[str, Records], Path], Layout]:
    """Writes the batches of one layout into a folder, and returns the layout with their checksums."""

    def write(layout: Layout, batches: dict[str, Records], folder: Path) -> Layout:
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for batch in layout.files:
            labels, pixels = batches[batch.batch]
            if layout.label_bytes:
                content = _binary(labels, pixels, layout.label_bytes)
            elif len(labels) > 1000:
                content = _python3_pickle(labels, pixels, layout.label_key)
            else:
                content = _python2_pickle(labels, pixels, layout.label_key)
            (folder / batch.file).write_bytes(content)
            files.append(
                replace(
                    batch,
                    images=len(labels),
                    bytes=len(content) if layout.label_bytes else None,
                    md5=hashlib.md5(content).hexdigest(),
                )
            )
        return replace(layout, files=tuple(files))

    return write


@pytest.fixture(params=["cifar10", "cifar100"])
def small(
    request: pytest.FixtureRequest, tmp_path: Path, write_layout: Callable[[Layout, dict[str, Records], Path], Layout]
) -> tuple[CifarManifest, dict[str, Records], Path]:
    """(manifest, batches, folder): both layouts with 20 random images per batch, and a manifest with their checksums."""
    rng = np.random.default_rng(1)
    manifest = official.load(request.param)
    batches = {
        batch.batch: (
            rng.integers(0, len(manifest.classes), 20, dtype=np.uint8),
            rng.integers(0, 256, (20, 3072), dtype=np.uint8),
        )
        for batch in manifest.layouts[0].files
    }
    data = tmp_path / "data"
    layouts = tuple(write_layout(layout, batches, data / layout.folder) for layout in manifest.layouts)
    return replace(manifest, layouts=layouts), batches, data
