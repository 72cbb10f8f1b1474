"""Promise: timm's ``wds/`` reader reads every variant, from its folder and from the root.

``import timm.data`` needs torchvision, which has no CPU build on PyPI. The reader itself does not: its module is imported
with timm's packages in place but without what their ``__init__`` files import; nothing is stubbed.
"""

import importlib
import importlib.machinery
import json
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from torch.utils.data import DataLoader, IterableDataset

from pipeline.formats.clients import files
from tests.clients.conftest import COUNTS, SHARDS, VARIANTS, Output, sample
from tests.conftest import Build


@pytest.fixture(scope="module")
def reader() -> Callable[..., Any]:
    """timm's class ReaderWds."""
    spec = importlib.machinery.PathFinder.find_spec("timm")
    if spec is None:
        pytest.skip("timm is not installed")
    [root] = spec.submodule_search_locations or [""]
    bare = {}
    for name in ("timm", "timm.data", "timm.data.readers"):
        bare[name] = types.ModuleType(name)
        bare[name].__path__ = [str(Path(root, *name.split(".")[1:]))]
    with patch.dict(sys.modules, bare):
        reader_class: Callable[..., Any] = importlib.import_module("timm.data.readers.reader_wds").ReaderWds
    return reader_class


class Iterated(IterableDataset):  # type: ignore[type-arg]
    """A reader as a dataset, as timm's own IterableImageDataset makes it."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    def __iter__(self) -> Any:
        return iter(self.reader)


def read(reader: Any, workers: int = 0) -> list[tuple[int, bytes]]:
    reader.set_loader_cfg(num_workers=workers)
    loader = DataLoader(Iterated(reader), batch_size=None, num_workers=workers, collate_fn=lambda pair: pair)
    return unnamed(sample("", label, image) for image, label in loader)


def unnamed(samples: Iterable[Any]) -> list[tuple[int, bytes]]:
    """Returns labels and pixels: timm returns no keys."""
    return [(sample.label, sample.pixels) for sample in samples]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_reads_a_variants_folder(variant: str, split: str, reader: Callable[..., Any], cifar: Output) -> None:
    images = reader(str(cifar.folder(variant)), split=split)
    assert len(images) == COUNTS[split]
    assert read(images) == unnamed(cifar.samples(variant, split))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_reads_every_variant_from_the_root(
    variant: str, split: str, reader: Callable[..., Any], cifar: Output
) -> None:
    images = reader(str(cifar.root), split=f"cifar10-{variant}-{split}")
    assert len(images) == COUNTS[split]
    assert read(images) == unnamed(cifar.samples(variant, split))


def test_validation_is_test_if_no_other_split_has_this_role(reader: Callable[..., Any], cifar: Output) -> None:
    expected = unnamed(cifar.samples("highrank3", "test"))
    assert read(reader(str(cifar.folder("highrank3")), split="validation")) == expected
    assert read(reader(str(cifar.root), split="cifar10-highrank3-validation")) == expected


@pytest.mark.parametrize("workers", [2, 4])
def test_loader_workers_share_the_samples(workers: int, reader: Callable[..., Any], cifar: Output) -> None:
    for split in COUNTS:
        images = reader(str(cifar.root), split=f"cifar10-rank20-{split}")
        assert sorted(read(images, workers)) == sorted(unnamed(cifar.samples("rank20", split)))


def test_one_epoch_of_training_is_every_sample_once_shuffled(reader: Callable[..., Any], cifar: Output) -> None:
    """With one worker and batches that divide the split; otherwise timm fills the last batch from the next epoch."""
    images = reader(str(cifar.folder("rank5")), split="train", is_training=True, batch_size=5)
    shuffled, expected = read(images), unnamed(cifar.samples("rank5", "train"))
    assert shuffled != expected
    assert sorted(shuffled) == sorted(expected)


def test_a_split_can_be_named_by_its_files(reader: Callable[..., Any], cifar: Output) -> None:
    images = reader(str(cifar.folder("full")), split="cifar10-full-train-{000000..000008}.tar|165")
    assert len(images) == 165
    assert read(images) == unnamed(cifar.samples("full", "train"))


def splits(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded["splits"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_info_file_has_all_four_fields(variant: str, cifar: Output) -> None:
    folder = cifar.folder(variant)
    described = splits(folder / "_info.json")
    assert list(described) == ["train", "test", "validation"]
    for name, split in described.items():
        assert split.keys() == {"name", "num_samples", "filenames", "shard_lengths"}
        assert split["name"] == name
        assert split["shard_lengths"] == SHARDS["train" if name == "train" else "test"]
        assert split["num_samples"] == sum(split["shard_lengths"])
        assert len(split["filenames"]) == len(split["shard_lengths"])
        assert all((folder / file).is_file() for file in split["filenames"])
    assert described["validation"] == described["test"] | {"name": "validation"}


def test_the_root_names_every_variant_and_split(cifar: Output) -> None:
    described = splits(cifar.root / "_info.json")
    assert sorted(described) == sorted(
        f"cifar10-{variant}-{split}" for variant in VARIANTS for split in ("train", "test", "validation")
    )
    for name, split in described.items():
        assert split["name"] == name
        assert all((cifar.root / file).is_file() for file in split["filenames"])


def test_validation_is_val_if_the_source_has_it(build: Build, pictures: Callable[..., Path], tmp_path: Path) -> None:
    for split, each in {"train": 3, "val": 1, "test": 2}.items():
        pictures(f"pictures/{split}", each=each, size=(8, 8))
    job = ("--dataset", "folder", "--data-dir", tmp_path / "pictures", "--ranks", "3", "--out", tmp_path / "out")
    assert build(*job).status == 0
    described = splits(tmp_path / "out" / "folder-rank3" / "_info.json")
    counts = {name: split["num_samples"] for name, split in described.items()}
    assert counts == {"train": 6, "val": 2, "test": 4, "validation": 2}


def test_a_name_with_tar_in_it_with_rejects_and_one_class_reads_from_the_root(
    build: Build, pictures: Callable[..., Path], reader: Callable[..., Any], tmp_path: Path
) -> None:
    """timm treats "guitars-rank3-train" as a file, because of "tar", and returns nothing."""
    folder = pictures(classes="a", each=4, size=(32, 32))
    (folder / "a" / "00.png").write_bytes(b"no image")
    job = ("--dataset", "folder", "--data-dir", folder, "--name", "guitars", "--ranks", "3", "--out", tmp_path / "out")
    assert build(*job, "--samples-per-shard", "1").status == 3
    for root, split in ((tmp_path / "out", "rank3-train"), (tmp_path / "out" / "guitars-rank3", "train")):
        images = reader(str(root), split=split)
        assert len(images) == 3
        assert [label for label, _ in read(images)] == [0, 0, 0]


def test_float_variants_are_not_offered(cifar: Output) -> None:
    manifest = json.loads((cifar.root / "manifest.json").read_text())
    manifest["variants"]["rank5"]["form"] = "npy"
    clients = files(manifest)
    assert "cifar10-rank5/_info.json" not in clients
    assert not any("cifar10-rank5" in name for name in json.loads(clients["_info.json"])["splits"])
    assert "cifar10-rank10-train" in json.loads(clients["_info.json"])["splits"]
