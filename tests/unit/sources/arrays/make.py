"""Images as arrays, and what the source reads of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.sources import open_source
from pipeline.sources.index import Source, SourceIndex


def random_images(count: int, side: int = 8, seed: int = 0) -> np.ndarray:
    """Returns uint8 (n, side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def random_labels(count: int, classes: int = 5) -> np.ndarray:
    """Returns int64 (n,), with every class."""
    return np.arange(count) * 3 % classes


def save(folder: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes ``<name>.npy`` for each array."""
    for name, array in arrays.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", array)
    return folder


def opened(root: Path) -> tuple[Source, SourceIndex]:
    source = open_source("arrays", root)
    return source, source.index()


def pixels(source: Source, index: SourceIndex, split: str) -> np.ndarray:
    """Returns uint8 (n, h, w, 3): the decoded images of a split."""
    listed = index.splits[split]
    pictures = [source.decode(source.read(listed.entry(number))).pixels for number in range(len(listed))]
    return np.stack(pictures).transpose(0, 2, 3, 1)


def refused(root: Path) -> str:
    with pytest.raises(PipelineError) as caught:
        opened(root)
    line = str(caught.value)
    assert "\n" not in line and caught.value.status == 1
    return line
