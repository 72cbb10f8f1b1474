"""The images of records, outputs and datasets are the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError, UsageError
from pipeline.numerics.geometry import Geometry
from pipeline.study.images import Images, from_output, from_records, from_source
from tests.conftest import Build, SmallCifar
from tests.unit.study.outputs import sample_output


def test_records_are_the_bytes_of_the_file(records: Path, test_images: Images) -> None:
    raw = np.fromfile(records, np.uint8).reshape(-1, 3073)
    assert (len(test_images), test_images.size, test_images.classes[3]) == (1017, (32, 32), "cat")
    np.testing.assert_array_equal(test_images.labels, raw[:, 0])
    np.testing.assert_array_equal(test_images.pixels[5, :, :, 1].ravel(), raw[5, 1 + 1024 : 1 + 2048])
    assert (test_images.keys[0], test_images.keys[-1]) == ("test-00000000", "test-00001016")
    np.testing.assert_array_equal(from_records(records, limit=7).pixels, test_images.pixels[:7])


def test_training_batches_have_the_builders_keys(shared: Path) -> None:
    images = from_records(shared / "data" / "cifar10" / "data_batch_2.first1017.bin", limit=2)
    assert images.keys == ["train-00010000", "train-00010001"]


def test_an_output_and_its_source_give_the_same_images(build: Build, cifar_binary: SmallCifar, tmp_path: Path) -> None:
    job = ("--dataset", "cifar10", "--data-dir", cifar_binary.folder, "--ranks", "5", "--out", tmp_path / "out")
    assert build(*job, "--components", "low,full").status == 0
    built = from_output(tmp_path / "out", "test")
    raw = from_source("cifar10", cifar_binary.folder, "test")
    records = from_records(next(cifar_binary.folder.rglob("test_batch.bin")))
    for other in (raw, records):
        np.testing.assert_array_equal(built.pixels, other.pixels)
        np.testing.assert_array_equal(built.labels, other.labels)
        assert (built.keys, built.classes) == (other.keys, other.classes)
    assert len(from_output(tmp_path / "out", "train", limit=3)) == 3
    low = from_output(tmp_path / "out", "test", variant="rank5")
    assert 0 < np.abs(low.pixels.astype(int) - built.pixels).mean() < 30


def test_an_output_without_full_is_refused(tmp_path: Path) -> None:
    out = sample_output(tmp_path / "out", components="low")
    with pytest.raises(UsageError, match="no variant full.*--components full"):
        from_output(out, "test")


def test_folders_are_resized_to_one_size(pictures: Callable[..., Path]) -> None:
    folder = pictures(classes="a", size=(12, 16))
    pictures(classes="b", size=(20, 12))
    with pytest.raises(UsageError, match="images differ in size.*--resize and --crop"):
        from_source("folder", folder, "train")
    images = from_source("folder", folder, "train", limit=4, geometry=Geometry(10, 8))
    assert images.pixels.shape == (4, 8, 8, 3)
    assert sorted(images.labels.tolist()) == [0, 0, 1, 1]  # the limit takes images of both classes


def test_mistakes(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    (tmp_path / "bad.bin").write_bytes(b"x" * 5000)
    (tmp_path / "empty.bin").write_bytes(b"")
    (tmp_path / "labels.bin").write_bytes(b"\xff" * 3073)
    for name in ("bad", "empty", "labels"):
        with pytest.raises(PipelineError, match=f"{name}.bin holds no CIFAR-10 records"):
            from_records(tmp_path / f"{name}.bin")
    with pytest.raises(PipelineError, match="No such file"):
        from_records(tmp_path / "absent.bin")
    folder = pictures()
    with pytest.raises(UsageError, match="split 'test': folder has train"):
        from_source("folder", folder, "test")
    (folder / "a" / "zz.png").write_bytes(b"no image")
    with pytest.raises(PipelineError, match="zz.png cannot be read"):
        from_source("folder", folder, "train")
