"""What is trained and tested on is what the output holds, or would hold."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import RankDataset
from pipeline.errors import UsageError
from pipeline.study.training.data import STAND_IN, Selection, moments, note, read_variant, signed
from tests.unit.study.outputs import sample_output


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_output(tmp_path_factory.mktemp("stored") / "out")


@pytest.fixture(scope="module")
def only_full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_output(tmp_path_factory.mktemp("full") / "out", components="full")


@pytest.mark.parametrize("variant", ["full", "rank2", "highrank2"])
def test_stored_pixels_labels_and_fill(variant: str, out: Path) -> None:
    tables = read_variant(Selection(out), variant)
    for split, samples in (("train", tables.train), ("test", tables.test)):
        data = RankDataset(out, variant, split)
        np.testing.assert_array_equal(samples.pixels.numpy(), data.data)
        assert samples.labels.tolist() == data.targets
        assert samples.zero == 0
    assert tables.signed == (variant == "highrank2")
    assert tables.fill == (128 if variant == "highrank2" else 0)
    assert tables.classes == len(data.classes)
    assert signed(tables.train).zero == 128


@pytest.mark.parametrize("variant", ["rank2", "highrank2"])
def test_a_variant_that_is_not_stored_is_cut_to_the_same_pixels(variant: str, out: Path, only_full: Path) -> None:
    stored, cut = (read_variant(Selection(root), variant) for root in (out, only_full))
    assert stored.train.digest == cut.train.digest
    assert stored.test.digest == cut.test.digest
    assert stored.fill == cut.fill


def test_a_variant_by_its_folders_name(out: Path) -> None:
    assert read_variant(Selection(out), "sample-highrank2").variant == "highrank2"


def test_normalisation_is_the_full_rank_images(out: Path) -> None:
    mean, std = moments(read_variant(Selection(out), "full").train)
    pixels = RankDataset(out, "full", "train").data.astype(np.float64) / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 1, 2)), atol=1e-9)


def test_keys_choose_images(out: Path, tmp_path: Path) -> None:
    train, test = RankDataset(out, "rank2", "train"), RankDataset(out, "rank2", "test")
    (tmp_path / "test.txt").write_text("".join(f"{test.key(at)}\n" for at in (7, 3, 3, 90)))
    (tmp_path / "train.txt").write_text(f"\n{train.key(5)}\r\n")
    chosen = Selection(out, train_keys=tmp_path / "train.txt", test_keys=tmp_path / "test.txt")
    tables = read_variant(chosen, "rank2")
    np.testing.assert_array_equal(tables.test.pixels.numpy(), test.data[[7, 3, 90]])
    assert tables.test.labels.tolist() == [test.targets[at] for at in (7, 3, 90)]
    np.testing.assert_array_equal(tables.train.pixels.numpy(), train.data[[5]])


def test_wrong_keys_are_one_line(out: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("test-00000000\ntrain-00000000\n")
    with pytest.raises(UsageError, match=r"1 of 2 keys are none of this split's, first 'train-00000000'"):
        read_variant(Selection(out, test_keys=tmp_path / "keys"), "full")
    (tmp_path / "keys").write_text("\n\n")
    with pytest.raises(UsageError, match=r"lists no keys: it takes one a line, such as test-"):
        read_variant(Selection(out, test_keys=tmp_path / "keys"), "full")


@pytest.mark.parametrize(
    ("variant", "line"),
    [
        ("rank40", "from 1 to 31"),
        ("rnak2", "did you mean 'rank2'"),
        ("rank2-exact", "has rank2, highrank2, full"),
    ],
)
def test_a_variant_that_cannot_be_had_is_one_line(variant: str, line: str, out: Path) -> None:
    with pytest.raises(UsageError, match=line):
        read_variant(Selection(out), variant)


def test_without_full_there_is_nothing_to_test_on(tmp_path: Path) -> None:
    out = sample_output(tmp_path / "out", components="high")
    with pytest.raises(UsageError, match="build it with --components full"):
        read_variant(Selection(out), "full")


def test_what_is_no_official_image_is_called_a_stand_in(out: Path, tmp_path: Path) -> None:
    assert note(Selection(out)) == ""
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["source"]["checksums_verified"] = False
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert note(Selection(copy)) == STAND_IN
    keys = tmp_path / "keys"  # which of them are exact, it does not tell
    assert note(Selection(copy, train_keys=keys, test_keys=keys)) == STAND_IN
