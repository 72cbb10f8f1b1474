"""Promises: pointer files of Git LFS and git-annex are named as such in every source, never used as data."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import PipelineError, Undecodable
from pipeline.sources import open_source
from pipeline.sources.imagenet.labels import _FORMS as LABELS
from pipeline.sources.imagenet.labels import DEVKIT
from pipeline.sources.images import decode_image, header_size
from pipeline.sources.webdataset.source import WebDataset
from tests.conftest import Build, SmallCifar
from tests.unit.sources.make_imagenet import tar_bytes

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4" * 64 + b"\nsize 12345\n"
ANNEX = b"/annex/objects/SHA256E-s12345--" + b"4" * 64 + b".png\n"
both = pytest.mark.parametrize(("content", "name"), [(LFS, "Git LFS pointer"), (ANNEX, "git-annex pointer")])


@both
def test_an_image_is_rejected_with_the_reason(
    content: bytes, name: str, pictures: Callable[..., Path], build: Build, tmp_path: Path
) -> None:
    for read in (decode_image, header_size):
        with pytest.raises(Undecodable, match=name):
            read(content)
    source = pictures()
    (source / "a" / "00.png").write_bytes(content)
    result = build("--dataset", "folder", "--data-dir", source, "--ranks", "3", "--out", tmp_path / "out")
    assert result.status == 3
    assert name in (tmp_path / "out" / "rejects.jsonl").read_text()


@both
def test_a_shard_and_a_file_of_classes_are_refused(content: bytes, name: str, tmp_path: Path) -> None:
    shard = tmp_path / "train-000000.tar"
    shard.write_bytes(content)
    with pytest.raises(PipelineError, match=name) as error:
        WebDataset(tmp_path).index()
    assert str(shard) in str(error.value)
    shard.write_bytes(tar_bytes([("k.jpg", b"image"), ("k.cls", b"1")]))
    (tmp_path / "classnames.txt").write_bytes(content)
    with pytest.raises(PipelineError, match=name):
        WebDataset(tmp_path).index()


@both
def test_files_of_cifar_are_refused(content: bytes, name: str, cifar_binary: SmallCifar, tmp_path: Path) -> None:
    batch = next(cifar_binary.folder.rglob("data_batch_1.bin"))
    batch.write_bytes(content)
    with pytest.raises(PipelineError, match=name):
        open_source("cifar10", cifar_binary.folder, allow_unverified=True).index()
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "cifar-10-binary.tar.gz").write_bytes(content)
    with pytest.raises(PipelineError, match=name):
        open_source("cifar10", tmp_path / "archive")


@both
@pytest.mark.parametrize("form", LABELS)
def test_labels_of_imagenet_are_refused(content: bytes, name: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / form
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for meta in (tmp_path / DEVKIT / "data" / "meta.mat", tmp_path / "data" / "meta.mat"):
        meta.parent.mkdir(parents=True, exist_ok=True)
        meta.write_bytes(content)
    with pytest.raises(PipelineError, match=name):
        LABELS[form](path)


@both
def test_weights_are_refused(content: bytes, name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from pipeline.study.networks.weights import read_weights

    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(PipelineError, match=name):
        read_weights(tmp_path / "w.pt")
