"""The train command: its files, what it leaves unchanged, and its errors."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.study.train import main
from tests.conftest import Result
from tests.unit.study.conftest import Run, table

Train = Callable[..., Result]
CLASSES = 8  # of the sample


def tiny() -> nn.Module:
    """A network for the classes of the sample."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)
    )


@pytest.fixture
def train(sample_out: Path, command: Run) -> Train:
    """Returns a function that trains for two epochs on the sample."""
    short = ("--network", f"{__name__}:tiny", "--epochs", "2", "--batch", "32", "--device", "cpu")
    return lambda *arguments: command(main, sample_out, *short, *arguments)


@pytest.fixture(scope="module")
def trained(sample_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three variants, trained with the default seeds 0, 1 and 2. Do not modify it."""
    out = tmp_path_factory.mktemp("trained")
    short = ("--network", f"{__name__}:tiny", "--epochs", "2", "--batch", "32", "--device", "cpu")
    assert main([str(sample_out), *short, "--variants", "full,rank2,highrank2", "--out", str(out)]) == 0
    return out


def test_results_of_every_variant_form_and_seed(trained: Path) -> None:
    rows = table(trained / "results.csv")
    names = [("full", "stored"), ("rank2", "stored"), ("highrank2", "stored"), ("highrank2", "signed")]
    assert [(row["variant"], row["form"], row["seed"]) for row in rows] == [(*n, s) for n in names for s in "012"]
    assert [bool(rows[i][name]) for i in (0, 3, 6) for name in ("full", "stored", "signed")] == [
        *(True, False, False),
        *(True, True, False),
        *(True, True, True),
    ]
    for row in rows:
        folder = trained / (row["variant"] + "-signed" * (row["form"] == "signed")) / f"seed{row['seed']}"
        last = table(folder / "curve.csv")[-1]
        assert {name: last[name] for name in ("full", "epoch")} == {"full": row["full"], "epoch": row["epochs"]}
        assert (folder / "weights.pt").exists()
    assert (trained / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert (trained / "accuracy.pdf").read_bytes().startswith(b"%PDF")


def test_mean_and_deviation_over_seeds(trained: Path) -> None:
    rows = table(trained / "results.csv")
    for i, scores in enumerate(json.loads((trained / "results.json").read_text())["results"]):
        values = [float(row["full"]) for row in rows[3 * i : 3 * i + 3]]
        assert scores["full"]["mean"] == pytest.approx(statistics.mean(values), abs=1e-6)
        assert scores["full"]["deviation"] == pytest.approx(statistics.stdev(values), abs=1e-6)


def test_normalisation_does_not_depend_on_the_variant(trained: Path) -> None:
    files = [trained / name / "seed0" / "weights.pt" for name in ("full", "highrank2", "highrank2-signed")]
    weights = [torch.load(file, weights_only=True) for file in files]
    assert weights[0]["mean"] == weights[1]["mean"] == weights[2]["mean"]
    assert weights[0]["std"] == weights[1]["std"] == weights[2]["std"]


def test_the_same_command_writes_the_same_bytes(train: Train, trained: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        ran = train("--variants", "rank2", "--seeds", "0,1", "--out", tmp_path / folder)
        [row] = json.loads((tmp_path / folder / "results.json").read_text())["results"]
        assert f"{100 * row['full']['mean']:.1f} ± {100 * row['full']['deviation']:.1f}" in ran.out
    for file in ("results.csv", "accuracy.png", "accuracy.pdf"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    folders = [trained / "rank2" / "seed0", tmp_path / "a" / "rank2" / "seed0", tmp_path / "a" / "rank2" / "seed1"]
    first, again, other = (
        torch.load(folder / "weights.pt", weights_only=True)["state_dict"]["0.weight"] for folder in folders
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_more_seeds_and_variants_keep_finished_trainings(train: Train, tmp_path: Path) -> None:
    assert train("--variants", "rank2", "--seeds", "1", "--out", tmp_path).status == 0
    before = (tmp_path / "rank2" / "seed1" / "checkpoint.pt").stat()
    assert train("--variants", "rank2,highrank2", "--seeds", "1,4", "--no-control", "--out", tmp_path).status == 0
    after = (tmp_path / "rank2" / "seed1" / "checkpoint.pt").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(table(tmp_path / "results.csv")) == 4
    assert not (tmp_path / "highrank2-signed").exists()


def test_only_images_with_test_keys_are_tested(train: Train, tmp_path: Path, sample_out: Path) -> None:
    lines = (sample_out / "samples" / "test.jsonl").read_text().splitlines()[10:30]
    (tmp_path / "keys.txt").write_text("\n".join(json.loads(line)["key"] for line in lines))
    keys = ("--test-keys", tmp_path / "keys.txt")
    ran = train("--variants", "rank2", "--seeds", "0", *keys, "--out", tmp_path / "run")
    assert "20 test images, one seed" in ran.out
    (row,) = table(tmp_path / "run" / "results.csv")
    assert row["test_images"] == "20"
    assert np.isclose(float(row["full"]) * 20 % 1, 0, atol=1e-4)


MISTAKES = [
    (("--recipe", "papr"), ("--recipe", "paper, short", "did you mean 'paper'?")),
    (("--out", ""), ("--out", "empty")),
    (("--epochs", "0"), ("--epochs", "'0'", "from 1")),
    (("--lr", "fast"), ("--lr", "'fast'", "0 and 100")),
    (("--fill", "300"), ("--fill", "300", "0 to 255")),
    (("--seeds", "1,x"), ("--seeds", "'x'", "from 0")),
    (("--network", "resnet18_cifra"), ("did you mean 'resnet18_cifar'?",)),
    (("--network", "no.such:thing"), ("No module named 'no'",)),
    (("--network", "pipeline.study.networks.small:small_cnn"), ("10 classes", "8")),
    (("--network", "pipeline.study.small:small_cnn"), ("10 classes", "8")),  # the old import path
    (("--network", "tests.unit.study.networks.test_networks:Raises"), ("32 x 32 pixels", "KeyError: 'no\\nkey'")),
    (("--device", "gpu"), ("--device gpu", "cpu")),
    (("--device", "meta"), ("--device meta", "cpu")),
    (("--variant", "rank2"), ("'--variant'", "did you mean '--variants'?")),
    (("--variants", "highrank3-exact"), ("rank2, highrank2, full",)),
    (("--test-split", "dev"), ("train, test",)),
    (("--test-keys", "nowhere.txt"), ("nowhere.txt", "No such file")),
]


@pytest.mark.parametrize(("arguments", "parts"), MISTAKES)
def test_mistakes_are_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], parts: tuple[str, ...], refused: Callable[..., str], sample_out: Path, tmp_path: Path
) -> None:
    job = (sample_out, "--variants", "rank2", "--network", f"{__name__}:tiny", "--out", tmp_path / "run")
    error = refused(main, *job, *arguments, status=1 if "nowhere.txt" in arguments else 2)
    for part in parts:
        assert part in error
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_one_line(refused: Callable[..., str], sample_out: Path, tmp_path: Path) -> None:
    error = refused(main, sample_out, "--variants", "rank2", "--device", "cuda", "--out", tmp_path / "run")
    assert error.startswith("--device cuda: ")
    assert error.endswith("cpu")
