"""The sample source has pinned photographs, crops that do not overlap, and mixed classes."""

import importlib.metadata
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import PipelineError
from pipeline.sources import sample
from pipeline.sources.sample import Sample

FOLDER = Path(importlib.metadata.distribution("scikit-image").locate_file("skimage/data"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def index():
    return Sample().index()


@pytest.fixture
def forget():
    sample._pixels.cache_clear()
    yield
    sample._pixels.cache_clear()


def places(index, split):
    """(photograph, row, column, width in pixels) of every crop, from the photographs' own sizes."""
    part = index.splits[split]
    for number in range(len(part)):
        entry = part.entry(number)
        factor = 2 if entry.file in ("hubble_deep_field.jpg", "retina.jpg") else 1
        width = -(-Image.open(FOLDER / entry.file).width // factor)
        yield entry.file, *divmod(entry.offset, width // 32), width


def test_it_is_of_a_useful_size_and_says_what_it_is_for(index):
    assert 1500 <= len(index.splits["train"]) <= 2500 and 400 <= len(index.splits["test"]) <= 600
    assert 8 <= len(index.classes) <= 10 and index.shape == (32, 32)
    assert "never for claims" in index.note and "Middlebury" in index.terms
    assert Sample().default_order == "source"


@pytest.mark.parametrize("file", ["astronaut.png", "rocket.jpg"])
def test_a_crop_is_that_part_of_the_photograph(index, file):
    photo = np.asarray(Image.open(FOLDER / file).convert("RGB"))
    columns = photo.shape[1] // 32
    seen = 0
    for part in index.splits.values():
        for entry in map(part.entry, range(len(part))):
            if entry.file == file:
                raw = Sample().read(entry)
                row, column = divmod(entry.offset, columns)
                crop = photo[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
                assert len(raw) == entry.size == 3072
                np.testing.assert_array_equal(Sample().decode(raw).pixels, crop.transpose(2, 0, 1))
                seen += 1
    assert seen == columns * (photo.shape[0] // 32)


def test_a_reduced_photograph_is_the_mean_of_its_blocks(index):
    part = index.splits["train"]
    entry = next(
        entry for entry in map(part.entry, range(len(part))) if entry.file == "retina.jpg" and entry.offset == 250
    )
    photo = np.asarray(Image.open(FOLDER / "retina.jpg"))[:1410, :1410].astype(float)
    means = photo.reshape(705, 2, 705, 2, 3).mean((1, 3))
    row, column = divmod(250, 22)
    crop = means[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
    assert np.abs(Sample().decode(Sample().read(entry)).pixels - crop.transpose(2, 0, 1)).max() <= 0.5


def test_train_and_test_come_from_separate_columns(index):
    train = {(file, column) for file, _, column, _ in places(index, "train")}
    test = {(file, column) for file, _, column, _ in places(index, "test")}
    assert not train & test
    every = [place[:3] for split in ("train", "test") for place in places(index, split)]
    assert len(every) == len(set(every))
    assert all(
        32 * (column + 1) <= width for split in ("train", "test") for _, _, column, width in places(index, split)
    )


def test_every_stretch_mixes_the_classes(index):
    for part in index.splits.values():
        shares = np.bincount(part.labels, minlength=len(index.classes)) / len(part)
        assert shares.min() > 0.04 and shares.max() < 0.25
        for first in range(0, len(part) - 100, 50):
            here = np.bincount(part.labels[first : first + 100], minlength=len(index.classes)) / 100
            assert np.abs(here - shares).max() <= 0.02


def test_names_and_labels_tell_the_photograph(index):
    for part in index.splits.values():
        assert len(set(part.names)) == len(part)
        assert [name.split("/")[0] for name in part.names] == [index.classes[label] for label in part.labels]


def test_another_photograph_is_refused_by_driver_and_worker(index, tmp_path, monkeypatch, forget):
    (tmp_path / "data").mkdir()
    for file in index.splits["train"].files:
        (tmp_path / "data" / file).write_bytes((FOLDER / file).read_bytes())
    (tmp_path / "data/coffee.png").write_bytes(b"tea")
    spec = importlib.util.spec_from_loader("skimage", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    part = index.splits["train"]
    coffee = next(entry for entry in map(part.entry, range(len(part))) if entry.file == "coffee.png")
    for call in (Sample().index, lambda: Sample().read(coffee)):
        with pytest.raises(PipelineError, match=r"coffee.png has SHA-256 .*: install scikit-image==0\.26\.0"):
            call()


def test_without_scikit_image_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PipelineError, match=r"not installed: pip install 'rank-shards\[sample\]'"):
        Sample().index()
