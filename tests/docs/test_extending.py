"""The source in docs/extending.md reads what its text says, and a build can use it."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import PipelineError
from tests.docs.conftest import blocks


@pytest.fixture
def example() -> dict[str, Any]:
    """Returns the names that the example of a source defines."""
    (block,) = [block for block in blocks("docs/extending.md") if "class Idx" in block.text]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block.text, "docs/extending.md", "exec"), names)
    return names


def write(root: Path, images: np.ndarray, labels: list[int]) -> None:
    (root / "train-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, *images.shape) + images.tobytes())
    (root / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + bytes(labels))


def test_the_source_reads_mnist(tmp_path, example):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    write(tmp_path, images, [3, 1, 4, 1, 5])
    source = example["Idx"](tmp_path)
    index = source.index()
    train = index.splits["train"]
    assert train.labels.tolist() == [3, 1, 4, 1, 5] and index.shape == (28, 28) and len(index.fingerprint()) == 64
    for number, image in enumerate(images):
        picture = source.decode(source.read(train.entry(number)))
        assert picture.converted == "grey" and all(np.array_equal(plane, image) for plane in picture.pixels)
    assert source.read(train.entry(2), 10) == images[2].tobytes()[:10]


def test_the_source_refuses_files_that_do_not_belong_together(tmp_path, example):
    write(tmp_path, np.zeros((3, 4, 4), np.uint8), [0, 1])
    with pytest.raises(PipelineError, match="do not belong together"):
        example["Idx"](tmp_path).index()
