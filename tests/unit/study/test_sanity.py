"""Warnings about networks that recognise nothing, top-5 accuracy, input sizes, and the scale of mean and std."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.study.class_names import shown_names
from pipeline.study.images import Images, from_source
from pipeline.study.networks.network import Network, resize
from pipeline.study.rig import main as rig_main
from pipeline.study.spectra import tables
from pipeline.study.spectra.spectrum import Plan, run
from pipeline.study.spectrum import main
from tests.unit.study.conftest import PUBLISHED, Run, tensor


class One(nn.Module):
    """Answers class 3 for everything."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.eye(10)[torch.full((len(x),), 3)] + 0 * x.sum()


def test_one_class_for_everything_is_a_warning(command: Run, records: Path, tmp_path: Path) -> None:
    ran = command(main, "--model", f"one={__name__}:One", "--images", records, "--limit", 40, "--out", tmp_path / "o")
    assert ran.status == 0
    [line] = ran.err.splitlines()
    assert line == ("warning: one predicts 'cat' for all 40 images: check --weights, --mean, --std and --classes")
    assert json.loads((tmp_path / "o" / "spectrum.json").read_text())["warnings"] == [line.removeprefix("warning: ")]


def test_chance_is_a_warning_and_a_good_network_none(
    command: Run, weights: Path, records: Path, tmp_path: Path
) -> None:
    model = ("--weights", weights / PUBLISHED["resnet2b"][1], "--images", records, "--limit", 60, "--ranks", 1)
    good = command(main, "--model", "resnet2b", *model, "--out", tmp_path / "good")
    assert (good.status, good.err) == (0, "")
    (tmp_path / "shuffled.txt").write_text(
        "\n".join(["airplane", "bird", "automobile", "truck", "cat", "deer", "dog", "frog", "horse", "ship"][::-1])
    )
    wrong = command(
        main, "--model", "resnet2b", *model, "--classes", tmp_path / "shuffled.txt", "--out", tmp_path / "wrong"
    )
    assert wrong.status == 0
    assert "no better than chance (10 %): check" in wrong.err


@pytest.mark.parametrize("option", ["--mean", "--std"])
@pytest.mark.parametrize("values", ["125,123,114", "-0.1,0.5,0.5", "nan,0.5,0.5"])
def test_mean_and_std_of_other_units_are_refused(
    option: str, values: str, refused: Callable[..., str], records: Path, tmp_path: Path
) -> None:
    rest = ("--images", records, "--out", tmp_path / "o")
    for command in (main, rig_main):
        error = refused(command, "--model", "resnet20", f"{option}={values}", *rest)
        assert error.startswith(f"{option} {values}: the three numbers are of images in [0, 1]")
    assert not (tmp_path / "o").exists()


def test_mistakes_are_one_line(refused: Callable[..., str], records: Path, tmp_path: Path) -> None:
    model = ("--model", f"{__name__}:One", "--images", records, "--limit", 4, "--out", tmp_path / "o")
    cases: list[tuple[object, tuple[object, ...], str]] = [
        (main, ("--ranks", "1,x"), "--ranks: 'x' is not a whole number from 0"),
        (main, ("--ranks", "40"), "--ranks: 40 is above the rank of these images, 32"),
        (main, ("--ranks", "9:3"), "--ranks: the range is empty; these images have ranks 0 to 32"),
        (main, ("--ranks", "1:9:0"), "with a step from 1"),
        (main, ("--ranks", ""), "--ranks: '' is not a whole number"),
        (main, ("--ranks", "1,2", "--at", "7"), "--at 7: the measured ranks are 1, 2"),
        (main, ("--batch", "0"), "--batch: '0' is not a whole number from 1"),
        (main, ("--examples", "17"), "--examples: '17' is not a whole number from 1 to 16"),
        (main, ("--input-size", "5000"), "--input-size: '5000' is not a whole number from 1 to 4,096"),
        (main, ("--model", f"{__name__}:Wide"), "cannot take images of 32 x 32 pixels"),
        (main, ("--model", f"{__name__}:Broken"), "returns NaN instead of logits"),
        (main, ("--classes", "imagenet"), "is not in the 1,000 names of ILSVRC 2012"),
        (rig_main, ("--integrated-gradients", "0"), "--integrated-gradients: '0' is not a whole number from 1"),
        (rig_main, ("--model", f"{__name__}:Cut"), "detaches its input"),
    ]
    for command, arguments, part in cases:
        error = refused(command, *model, *arguments, status=1 if "--classes" in arguments else 2)
        assert part in error, (arguments, error)
    assert not (tmp_path / "o").exists()


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :10] * float("nan")


class Cut(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach().flatten(1)[:, :10]


def test_top5_needs_many_classes(test_images: Images) -> None:
    class Ranked(nn.Module):
        """Class scores fall with the distance from class 10."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return -(torch.arange(30) - 10).abs().float().expand(len(x), 30) + 0 * x.mean()

    assert run([Network(Ranked(), "ranked")], test_images.first(4), Plan.of((32, 32), ranks=(1,))).top5 is None
    labels = np.array([10, 12, 8, 13, 7, 0])
    images = Images(test_images.pixels[:6], labels, test_images.keys[:6], [f"class {i}" for i in range(30)], "test")
    spectrum = run([Network(Ranked(), "ranked")], images, Plan.of((32, 32), ranks=(1,)))
    assert spectrum.top5 is not None
    assert spectrum.top5[0, 0, 0].tolist() == [True, True, True, False, False, False]
    row = next(iter(tables.curves(spectrum)))
    assert (row["accuracy"], row["top-5 accuracy"]) == (pytest.approx(1 / 6), pytest.approx(1 / 2))


def test_each_network_has_its_input_size(command: Run, records: Path, tmp_path: Path) -> None:
    rest = ("--images", records, "--limit", 4, "--ranks", "3", "--out", tmp_path / "o")
    ran = command(main, "--model", f"{__name__}:Wide", "--input-size", 40, "--model", f"{__name__}:One", *rest)
    assert (ran.status, ran.err) == (0, "")
    other = command(main, "--model", f"{__name__}:Wide", *rest, "--out", tmp_path / "other")
    assert "cannot take images of 32 x 32 pixels" in other.err


class Wide(nn.Module):
    """Takes images of 40 x 40 pixels only."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 40 * 40, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x.flatten(1))
        return y


def test_resized_images_keep_their_mean(test_images: Images) -> None:
    x = tensor(test_images.first(4))
    for side in (16, 33, 227):
        torch.testing.assert_close(resize(x, side).mean((2, 3)), x.mean((2, 3)), atol=0.01, rtol=0)


def test_splits_have_the_readers_aliases(pictures: Callable[..., Path], tmp_path: Path) -> None:
    for split in ("train", "val"):
        pictures(classes="ab", each=2, size=(8, 8)).rename(tmp_path / split)
    keys = {split: from_source("folder", tmp_path, split).keys for split in ("val", "test", "validation", "train")}
    assert keys["val"] == keys["test"] == keys["validation"]
    assert keys["val"] != keys["train"]


def test_figures_show_words() -> None:
    assert shown_names(["n01440764", "cat", "n99999999", "a" * 40]) == ["tench", "cat", "n99999999", "a" * 21 + "…"]
