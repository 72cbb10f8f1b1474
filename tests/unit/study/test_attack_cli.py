"""The command: its tables, against its own predictions by key, and mistakes in one line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from torch import nn

from pipeline.study.attack import main
from pipeline.study.spectrum import main as spectrum
from tests.conftest import Result

Attack = Callable[..., Result]


@pytest.fixture
def places(shared: Path) -> tuple[str, ...]:
    data = shared / "data"
    weights = data / "weights" / "robust" / "resnet2b.pth"
    return "--model", "resnet2b", "--weights", f"{weights}", "--images", f"{data}/cifar10/test_batch.first1017.bin"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Attack:
    def command(*arguments: object) -> Result:
        capsys.readouterr()
        status = main([*map(str, arguments)])
        return Result(status, *capsys.readouterr())

    return command


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_shares_add_up_and_are_those_of_the_predictions(run: Attack, places: tuple[str, ...], tmp_path: Path) -> None:
    result = run(*places, "--limit", 60, "--steps", 5, "--ranks", "10,3", "--out", tmp_path)
    assert result.status == 0
    predicted, rows = table(tmp_path / "predictions.csv"), table(tmp_path / "attack.csv")
    names = [(rank, attack) for rank in ("3", "10") for attack in ("transfer", "fixed", "exact")]
    names = [("", "direct"), *names]
    assert [(row["rank"], row["attack"], row["images"]) for row in rows] == [
        (*name, images) for name in names for images in ("all", "right before")
    ]
    for row in rows:
        of = [one for one in predicted if (one["rank"], one["attack"]) == (row["rank"], row["attack"])]
        assert len(of) == 60
        of = [one for one in of if row["images"] == "all" or one["before"] == one["label"]]
        counts = {
            "success": sum(one["after"] == one["target"] for one in of),
            "recovery": sum(one["after"] == one["label"] for one in of),
            "other": sum(one["after"] not in (one["target"], one["label"]) for one in of),
        }
        assert int(row["count"]) == len(of) == sum(counts.values())
        for name, count in counts.items():
            assert float(row[name]) == pytest.approx(count / len(of), abs=1e-6)
            low, high = binomtest(count, len(of)).proportion_ci(method="wilson")
            assert float(row[f"{name} low"]) == pytest.approx(low, abs=1e-6)
            assert float(row[f"{name} high"]) == pytest.approx(high, abs=1e-6)
    assert {one["target"] for one in predicted} == {*"0123456789"}
    assert not any(one["target"] == one["label"] for one in predicted)
    assert [one["key"] for one in predicted[:60]] == [f"test-{at:08d}" for at in range(60)]


def test_everything_is_written_and_repeats(run: Attack, places: tuple[str, ...], tmp_path: Path) -> None:
    outs = []
    for folder in ("a", "b"):
        result = run(
            *places,
            "--limit",
            20,
            "--steps",
            3,
            "--eps",
            "8/255",
            "--step-size",
            "relative",
            "--out",
            tmp_path / folder,
        )
        outs.append(result)
    assert outs[0] == outs[1]
    assert "eps 8/255, 3 steps of 6.66667/255, random start, seed 0; 20 images" in outs[0].out
    for name in ("attack.csv", "predictions.csv", "attack.png", "attack.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    kept = json.loads((tmp_path / "a" / "attack.json").read_text())
    assert kept["options"]["eps"] == pytest.approx(8 / 255)
    assert kept["results"][0]["model"] == "resnet2b"


def blind() -> nn.Module:
    """Takes every image for the first class."""
    linear = nn.Linear(3 * 32 * 32, 10)
    with torch.no_grad():
        linear.weight *= 1e-9
        linear.bias.copy_(torch.arange(10, 0, -1))
    return nn.Sequential(nn.Flatten(), linear)


def test_shares_of_no_images_are_empty_in_every_table(run: Attack, places: tuple[str, ...], tmp_path: Path) -> None:
    network = ("--model", "tests.unit.study.test_attack_cli:blind", *places[4:])
    result = run(*network, "--limit", 3, "--steps", 1, "--out", tmp_path)  # three images of other classes
    assert (result.status, result.out.splitlines()[2].split()[-4:]) == (0, ["0", "-", "-", "-"])
    assert {table(tmp_path / "attack.csv")[1][name] for name in ("success", "recovery low", "other high")} == {""}

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    kept = json.loads((tmp_path / "attack.json").read_text(), parse_constant=refuse)
    assert (kept["results"][1]["count"], kept["results"][1]["success"]) == (0, None)


def test_a_stronger_bound_succeeds_more_often(run: Attack, places: tuple[str, ...], tmp_path: Path) -> None:
    shares = []
    for eps in ("1/255", "8/255", "32/255"):
        assert run(*places, "--limit", 100, "--eps", eps, "--step-size", "relative", "--out", tmp_path).status == 0
        shares.append(float(table(tmp_path / "attack.csv")[0]["success"]))
    assert np.diff(shares).min() > 0.1


MISTAKES = [
    (("--eps", "0"), "--eps: '0' is not above 0 and up to 1: give a number or a fraction such as 4/255"),
    (("--eps", "4/0"), "--eps: '4/0' is not above 0 and up to 1: give a number or a fraction such as 4/255"),
    (("--step-size", "4"), "--step-size: '4' is not above 0 and up to 1: give a number or a fraction such as 4/255"),
    (("--out", ""), "--out: it is empty"),
    (("--steps", "none"), "--steps: 'none' is not a whole number from 1"),
    (("--ranks", "5,32"), "--ranks 32: these images have ranks 1 to 31"),
    (("--ranks", "0"), "--ranks: '0' is not a whole number from 1"),
    (("--device", "cuda:99"), "use cpu"),
    (("--model", "tests.unit.study.test_attack_cli:eight_classes"), "tells 8 classes apart, these images have 10"),
    (("--epsilon", "1"), "unknown option '--epsilon', did you mean '--eps'?"),
]


def eight_classes() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))


@pytest.mark.parametrize(("arguments", "line"), MISTAKES)
def test_mistakes_are_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], line: str, run: Attack, places: tuple[str, ...], tmp_path: Path
) -> None:
    result = run(*places, *arguments, "--limit", 2, "--out", tmp_path / "run")
    assert result.err.startswith("error: ")
    assert line in result.err
    assert result.err.count("\n") == 1
    assert result.status == 2
    assert not (tmp_path / "run").exists()


def test_the_predictions_of_a_spectrum_are_not_written_over(
    run: Attack, places: tuple[str, ...], tmp_path: Path
) -> None:
    assert spectrum([*places, "--limit", "2", "--out", str(tmp_path)]) == 0
    kept = (tmp_path / "predictions.csv").read_bytes()
    result = run(*places, "--limit", 2, "--out", tmp_path)
    assert result.err == f"error: --out {tmp_path} holds the tables of pipeline.study.spectrum: name another folder\n"
    assert (result.status, (tmp_path / "predictions.csv").read_bytes()) == (2, kept)
    assert run(*places, "--limit", 2, "--out", tmp_path / "a").status == 0
    assert spectrum([*places, "--limit", "2", "--out", str(tmp_path / "a")]) == 2


def test_a_network_without_gradients_is_one_line(run: Attack, shared: Path, tmp_path: Path) -> None:
    onnx, images = shared / "data/weights/robust/resnet_2b.onnx", shared / "data/cifar10/test_batch.first1017.bin"
    result = run("--model", onnx, "--images", images, "--limit", 2, "--out", tmp_path / "run")
    assert result.err == ("error: an attack needs gradients, which resnet_2b does not give (ONNX runs forwards only)\n")
    assert result.status == 2
    assert not (tmp_path / "run").exists()


def test_images_of_one_class_leave_no_target(run: Attack, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "test" / "cat").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "pictures" / "test" / "cat" / "0.png")
    images = ("--dataset", "folder", "--data-dir", tmp_path / "pictures")
    result = run("--model", "tests.unit.study.test_attack_cli:eight_classes", *images, "--out", tmp_path / "run")
    assert "all images are of one class, and a targeted attack needs another to aim for" in result.err
    assert (result.err.count("\n"), result.status) == (1, 2)
