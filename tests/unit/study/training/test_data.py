"""Training and test images are those that the output stores, or would store."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import RankDataset
from pipeline.errors import UsageError
from pipeline.study.training.batches import Samples
from pipeline.study.training.data import STAND_IN, Selection, moments, read_variant, stand_in_warning, without_offset
from tests.unit.study.outputs import sample_output


@pytest.fixture(scope="module")
def only_full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_output(tmp_path_factory.mktemp("full") / "out", components="full")


@pytest.mark.parametrize("variant", ["full", "rank2", "highrank2"])
def test_stored_pixels_labels_and_fill(variant: str, sample_out: Path) -> None:
    images = read_variant(Selection(sample_out), variant)
    for split, samples in (("train", images.train), ("test", images.test)):
        data = RankDataset(sample_out, variant, split)
        assert isinstance(samples, Samples)
        np.testing.assert_array_equal(samples.pixels.numpy(), data.data)
        assert samples.labels.tolist() == data.targets
        assert samples.zero == 0
    assert images.signed == (variant == "highrank2")
    assert images.fill == (128 if variant == "highrank2" else 0)
    assert images.classes == len(data.classes)
    assert without_offset(images.train).zero == 128


@pytest.mark.parametrize("variant", ["rank2", "highrank2"])
def test_a_variant_that_is_not_stored_is_cut_to_the_same_pixels(
    variant: str, sample_out: Path, only_full: Path
) -> None:
    stored, cut = (read_variant(Selection(root), variant) for root in (sample_out, only_full))
    assert stored.train.digest == cut.train.digest
    assert stored.test.digest == cut.test.digest
    assert stored.fill == cut.fill


def test_a_variant_can_be_named_by_its_folder(sample_out: Path) -> None:
    assert read_variant(Selection(sample_out), "sample-highrank2").variant == "highrank2"


def test_moments_are_those_of_the_pixels(sample_out: Path) -> None:
    mean, std = moments(read_variant(Selection(sample_out), "full").train)
    pixels = RankDataset(sample_out, "full", "train").data.astype(np.float64) / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 1, 2)), atol=1e-9)


def test_keys_select_images(sample_out: Path, tmp_path: Path) -> None:
    train, test = RankDataset(sample_out, "rank2", "train"), RankDataset(sample_out, "rank2", "test")
    (tmp_path / "test.txt").write_text("".join(f"{test.key(i)}\n" for i in (7, 3, 3, 90)))
    (tmp_path / "train.txt").write_text(f"\n{train.key(5)}\r\n")
    selection = Selection(sample_out, train_keys=tmp_path / "train.txt", test_keys=tmp_path / "test.txt")
    images = read_variant(selection, "rank2")
    assert isinstance(images.test, Samples)
    assert isinstance(images.train, Samples)
    np.testing.assert_array_equal(images.test.pixels.numpy(), test.data[[7, 3, 90]])
    assert images.test.labels.tolist() == [test.targets[i] for i in (7, 3, 90)]
    np.testing.assert_array_equal(images.train.pixels.numpy(), train.data[[5]])


def test_wrong_keys_are_one_line(sample_out: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("test-00000000\ntrain-00000000\n")
    with pytest.raises(UsageError, match="1 of 2 keys.*'train-00000000'"):
        read_variant(Selection(sample_out, test_keys=tmp_path / "keys"), "full")
    (tmp_path / "keys").write_text("\n\n")
    with pytest.raises(UsageError, match="lists no keys.*such as test-"):
        read_variant(Selection(sample_out, test_keys=tmp_path / "keys"), "full")


@pytest.mark.parametrize(
    ("variant", "line"),
    [
        ("rank40", "rank 40: .*at most 31"),
        ("rnak2", "did you mean 'rank2'"),
        ("rank2-exact", "has rank2, highrank2, full"),
    ],
)
def test_unknown_variants_are_refused(variant: str, line: str, sample_out: Path) -> None:
    with pytest.raises(UsageError, match=line):
        read_variant(Selection(sample_out), variant)


def test_an_output_without_full_is_refused(tmp_path: Path) -> None:
    out = sample_output(tmp_path / "out", components="high")
    with pytest.raises(UsageError, match="--components full"):
        read_variant(Selection(out), "full")


def test_unofficial_files_are_called_a_stand_in(sample_out: Path, tmp_path: Path) -> None:
    assert stand_in_warning(Selection(sample_out)) == ""
    copy = tmp_path / "copy"
    shutil.copytree(sample_out, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["source"]["checksums_verified"] = False
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert stand_in_warning(Selection(copy)) == STAND_IN
    keys = tmp_path / "keys"
    assert stand_in_warning(Selection(copy, train_keys=keys, test_keys=keys)) == STAND_IN
