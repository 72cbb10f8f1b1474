"""The attack command: its tables, compared with its predictions by key, and its errors."""

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
from tests.unit.study.conftest import PUBLISHED, Run, table

Attack = Callable[..., str]
Refused = Callable[..., str]


@pytest.fixture(scope="session")
def job(weights: Path, records: Path) -> tuple[object, ...]:
    """Options for a small network and the test images."""
    spec, file = PUBLISHED["cnn_a_adv"]
    return "--model", spec, "--weights", weights / file, "--images", records


@pytest.fixture
def attack(command: Run, job: tuple[object, ...]) -> Attack:
    """Returns a function that runs the command successfully and returns its stdout."""

    def run(*arguments: object) -> str:
        ran = command(main, *job, *arguments)
        assert (ran.status, ran.err) == (0, "")
        return ran.out

    return run


def test_shares_are_those_of_the_predictions_and_add_up_to_1(attack: Attack, tmp_path: Path) -> None:
    attack("--limit", 60, "--steps", 5, "--ranks", "10,3", "--out", tmp_path)
    predictions, rows = table(tmp_path / "predictions.csv"), table(tmp_path / "attack.csv")
    names = [(rank, attack) for rank in ("3", "10") for attack in ("transfer", "fixed", "exact")]
    names = [("", "direct"), *names]
    assert [(row["rank"], row["attack"], row["images"]) for row in rows] == [
        (*name, images) for name in names for images in ("all", "right before")
    ]
    for row in rows:
        group = [p for p in predictions if (p["rank"], p["attack"]) == (row["rank"], row["attack"])]
        assert len(group) == 60
        group = [p for p in group if row["images"] == "all" or p["before"] == p["label"]]
        counts = {
            "success": sum(p["after"] == p["target"] for p in group),
            "recovery": sum(p["after"] == p["label"] for p in group),
            "other": sum(p["after"] not in (p["target"], p["label"]) for p in group),
        }
        assert int(row["count"]) == len(group) == sum(counts.values())
        for name, count in counts.items():
            assert float(row[name]) == pytest.approx(count / len(group), abs=1e-6)
            low, high = binomtest(count, len(group)).proportion_ci(method="wilson")
            assert float(row[f"{name} low"]) == pytest.approx(low, abs=1e-6)
            assert float(row[f"{name} high"]) == pytest.approx(high, abs=1e-6)
    assert {p["target"] for p in predictions} == {*"0123456789"}
    assert not any(p["target"] == p["label"] for p in predictions)
    assert [p["key"] for p in predictions[:60]] == [f"test-{i:08d}" for i in range(60)]


def test_two_runs_write_the_same_bytes(attack: Attack, tmp_path: Path) -> None:
    options = ("--limit", 20, "--steps", 3, "--eps", "8/255", "--step-size", "relative")
    first, second = (attack(*options, "--out", tmp_path / folder) for folder in ("a", "b"))
    assert first == second
    assert "eps 8/255, 3 steps of 6.66667/255, random start, seed 0; 20 images" in first
    for name in ("attack.csv", "predictions.csv", "attack.png", "attack.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    settings = json.loads((tmp_path / "a" / "attack.json").read_text())
    assert settings["options"]["eps"] == pytest.approx(8 / 255)
    assert settings["results"][0]["model"] == "cifar_cnn_a_adv"


def blind() -> nn.Module:
    """Predicts the first class for every image."""
    linear = nn.Linear(3 * 32 * 32, 10)
    with torch.no_grad():
        linear.weight *= 1e-9
        linear.bias.copy_(torch.arange(10, 0, -1))
    return nn.Sequential(nn.Flatten(), linear)


def test_shares_of_no_images_are_empty_in_every_table(command: Run, records: Path, tmp_path: Path) -> None:
    job = ("--model", f"{__name__}:blind", "--images", records, "--limit", 3)  # none of the three is of the first class
    ran = command(main, *job, "--steps", 1, "--out", tmp_path)
    assert (ran.status, ran.out.splitlines()[2].split()[-4:]) == (0, ["0", "-", "-", "-"])
    assert {table(tmp_path / "attack.csv")[1][name] for name in ("success", "recovery low", "other high")} == {""}

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    results = json.loads((tmp_path / "attack.json").read_text(), parse_constant=refuse)["results"]
    assert (results[1]["count"], results[1]["success"]) == (0, None)


def test_a_larger_bound_succeeds_more_often(attack: Attack, tmp_path: Path) -> None:
    shares = []
    for eps in ("1/255", "8/255", "32/255"):
        attack("--limit", 100, "--eps", eps, "--step-size", "relative", "--out", tmp_path)
        shares.append(float(table(tmp_path / "attack.csv")[0]["success"]))
    assert np.diff(shares).min() > 0.1


def eight_classes() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))


MISTAKES = [
    (("--eps", "0"), ("--eps", "'0'", "4/255")),
    (("--eps", "4/0"), ("--eps", "'4/0'")),
    (("--step-size", "4"), ("--step-size", "'4'")),
    (("--out", ""), ("--out", "empty")),
    (("--steps", "none"), ("--steps", "'none'", "from 1")),
    (("--ranks", "5,32"), ("--ranks 32", "1 to 31")),
    (("--ranks", "0"), ("--ranks", "'0'", "from 1")),
    (("--device", "cuda:99"), ("cuda:99", "cpu")),
    (("--model", f"{__name__}:eight_classes"), ("8 classes", "10")),
    (("--epsilon", "1"), ("'--epsilon'", "'--eps'")),
]


@pytest.mark.parametrize(("arguments", "parts"), MISTAKES)
def test_mistakes_are_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], parts: tuple[str, ...], refused: Refused, job: tuple[object, ...], tmp_path: Path
) -> None:
    error = refused(main, *job, "--out", tmp_path / "run", *arguments, "--limit", 2)
    for part in parts:
        assert part in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("study", "other"), [(main, "spectrum"), (spectrum, "attack")])
def test_tables_of_the_other_study_are_not_overwritten(
    study: Callable[[list[str]], int], other: str, refused: Refused, job: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / f"{other}.json").write_text("{}")  # both studies also write predictions.csv
    assert f"pipeline.study.{other}" in refused(study, *job, "--limit", 2, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{other}.json"]


def test_a_network_without_gradients_is_refused(refused: Refused, onnx: Path, records: Path, tmp_path: Path) -> None:
    error = refused(main, "--model", onnx, "--images", records, "--limit", 2, "--out", tmp_path / "run")
    assert "needs gradients" in error
    assert "resnet_2b" in error
    assert not (tmp_path / "run").exists()


def test_images_of_one_class_are_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "test" / "cat").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "pictures" / "test" / "cat" / "0.png")
    images = ("--dataset", "folder", "--data-dir", tmp_path / "pictures")
    error = refused(main, "--model", f"{__name__}:eight_classes", *images, "--out", tmp_path / "run")
    assert "all images are of one class" in error
