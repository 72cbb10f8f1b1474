"""The sample source has pinned photographs, crops that do not overlap, and mixed classes."""

import functools
import http.server
import importlib.metadata
import importlib.util
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import PipelineError
from pipeline.sources import download, manifests, open_source, sample
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


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def photographs(tmp_path, monkeypatch, forget):
    """A folder that a server on this machine offers in place of the official one. There is no scikit-image."""
    folder = tmp_path / "official"
    shutil.copytree(
        FOLDER, folder, ignore=lambda _, names: {name for name in names if name not in sample._photographs()}
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    manifest = manifests.load("sample") | {"url": f"http://127.0.0.1:{server.server_port}/"}
    monkeypatch.setattr(manifests, "load", lambda _: manifest)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


def cached(tmp_path):
    return {path.name: path for path in (tmp_path / "cache/rank-shards/sample").glob("*")}


def test_without_scikit_image_the_photographs_are_downloaded_once(index, photographs, tmp_path):
    progress = []
    downloaded = open_source("sample", download=lambda *step: progress.append(step)).index()
    assert downloaded.fingerprint() == index.fingerprint()
    assert {name: path.read_bytes() for name, path in cached(tmp_path).items()} == {
        path.name: path.read_bytes() for path in photographs.iterdir()
    }
    assert progress == sorted(progress) and progress[-1][0] == progress[-1][1] == sum(
        path.stat().st_size for path in photographs.iterdir()
    )
    for path in photographs.iterdir():
        path.unlink()
    assert open_source("sample", download=False).index().fingerprint() == index.fingerprint()


def test_a_node_without_the_photographs_downloads_the_one_that_it_reads(index, photographs, tmp_path):
    entry = index.splits["train"].entry(0)
    assert len(Sample().read(entry)) == 3072
    assert list(cached(tmp_path)) == [entry.file]


def test_what_is_not_the_official_photograph_is_not_kept(photographs, tmp_path):
    (photographs / "coffee.png").write_bytes(bytes((FOLDER / "coffee.png").stat().st_size))
    with pytest.raises(PipelineError, match=r"coffee.png cannot be downloaded \(its SHA256 is .*pip install") as caught:
        open_source("sample", download=lambda *_: None)
    assert "--data-dir" not in str(caught.value) and "coffee.png" not in cached(tmp_path)


def test_a_damaged_file_of_the_cache_is_named(photographs, tmp_path):
    open_source("sample", download=lambda *_: None)
    cached(tmp_path)["rocket.jpg"].write_bytes(b"balloon")
    with pytest.raises(PipelineError, match=r"rocket.jpg has SHA-256 .*: delete it, and it is downloaded again"):
        Sample().index()


def test_without_a_network_one_line_says_what_to_do(photographs, monkeypatch):
    manifest = manifests.load("sample") | {"url": "http://127.0.0.1:9/"}
    monkeypatch.setattr(manifests, "load", lambda _: manifest)
    with pytest.raises(
        PipelineError, match=r"^http://127\.0\.0\.1:9/astronaut\.png cannot be downloaded .*\[sample\]'"
    ):
        open_source("sample", download=lambda *_: None)


def test_a_dry_run_downloads_nothing(photographs, tmp_path):
    with pytest.raises(
        PipelineError, match=r"--dry-run downloads nothing: .* 4 MB once, or pip install 'rank-shards\[sample\]'"
    ):
        open_source("sample", download=False)
    assert not cached(tmp_path)
