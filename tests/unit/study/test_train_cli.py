"""The command: what it writes, what it leaves alone, and mistakes in one line."""

import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.study.train import main
from tests.conftest import Result
from tests.unit.study.outputs import sample_output

Train = Callable[..., Result]
TINY = f"{__name__}:tiny"


def tiny() -> nn.Module:
    """A network for the sample's classes."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)
    )


CLASSES = 0  # set from the output


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    global CLASSES
    folder = sample_output(tmp_path_factory.mktemp("sample") / "out")
    CLASSES = len(json.loads((folder / "manifest.json").read_text())["classes"])
    return folder


@pytest.fixture
def run(out: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    def command(*arguments: object) -> Result:
        capsys.readouterr()
        short = ("--network", TINY, "--epochs", "2", "--batch", "32", "--device", "cpu")
        status = main([str(out), *short, *map(str, arguments)])
        return Result(status, *capsys.readouterr())

    return command


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_variant_form_and_seed_and_their_mean_and_deviation(run: Train, tmp_path: Path) -> None:
    result = run("--variants", "full,rank2,highrank2", "--out", tmp_path)
    assert result.status == 0
    rows = table(tmp_path / "results.csv")
    names = [("full", "stored"), ("rank2", "stored"), ("highrank2", "stored"), ("highrank2", "signed")]
    assert [(row["variant"], row["form"], row["seed"]) for row in rows] == [(*n, s) for n in names for s in "012"]
    assert [bool(rows[at][name]) for at in (0, 3, 6) for name in ("full", "stored", "signed")] == [
        *(True, False, False),
        *(True, True, False),
        *(True, True, True),
    ]
    summary = json.loads((tmp_path / "results.json").read_text())["results"]
    for at, one in enumerate(summary):
        values = [float(row["full"]) for row in rows[3 * at : 3 * at + 3]]
        assert one["full"]["mean"] == pytest.approx(statistics.mean(values), abs=1e-6)
        assert one["full"]["deviation"] == pytest.approx(statistics.stdev(values), abs=1e-6)
        assert f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}" in result.out
    for row in rows:
        folder = tmp_path / (row["variant"] + "-signed" * (row["form"] == "signed")) / f"seed{row['seed']}"
        last = table(folder / "curve.csv")[-1]
        assert {name: last[name] for name in ("full", "epoch")} == {"full": row["full"], "epoch": row["epochs"]}
        assert (folder / "weights.pt").exists()
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "accuracy.pdf").read_bytes().startswith(b"%PDF")


def test_normalisation_is_the_same_whatever_was_trained_on(run: Train, tmp_path: Path) -> None:
    assert run("--variants", "full,highrank2", "--seeds", "0", "--out", tmp_path).status == 0
    files = [tmp_path / name / "seed0" / "weights.pt" for name in ("full", "highrank2", "highrank2-signed")]
    kept = [torch.load(file, weights_only=True) for file in files]
    assert kept[0]["mean"] == kept[1]["mean"] == kept[2]["mean"]
    assert kept[0]["std"] == kept[1]["std"] == kept[2]["std"]


def test_more_seeds_and_variants_leave_what_is_there(run: Train, tmp_path: Path) -> None:
    assert run("--variants", "rank2", "--seeds", "1", "--out", tmp_path).status == 0
    before = (tmp_path / "rank2" / "seed1" / "checkpoint.pt").stat()
    assert run("--variants", "rank2,highrank2", "--seeds", "1,4", "--no-control", "--out", tmp_path).status == 0
    after = (tmp_path / "rank2" / "seed1" / "checkpoint.pt").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(table(tmp_path / "results.csv")) == 4
    assert not (tmp_path / "highrank2-signed").exists()


def test_seeds_differ_and_repeat(run: Train, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert run("--variants", "rank2", "--seeds", "0,1", "--out", tmp_path / folder).status == 0
    first, again = (
        [torch.load(tmp_path / folder / "rank2" / f"seed{seed}" / "weights.pt", weights_only=True) for seed in (0, 1)]
        for folder in ("a", "b")
    )
    name = "0.weight"
    assert torch.equal(first[0]["state_dict"][name], again[0]["state_dict"][name])
    assert not torch.equal(first[0]["state_dict"][name], first[1]["state_dict"][name])
    for file in ("results.csv", "accuracy.png", "accuracy.pdf"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_test_keys_are_what_is_tested_on(run: Train, tmp_path: Path, out: Path) -> None:
    keys = [json.loads(line)["key"] for line in (out / "samples" / "test.jsonl").read_text().splitlines()][10:30]
    (tmp_path / "keys.txt").write_text("\n".join(keys))
    result = run("--variants", "rank2", "--seeds", "0", "--test-keys", tmp_path / "keys.txt", "--out", tmp_path / "run")
    assert "20 test images, one seed, so no deviation" in result.out
    (row,) = table(tmp_path / "run" / "results.csv")
    assert row["test_images"] == "20"
    assert np.isclose(float(row["full"]) * 20 % 1, 0, atol=1e-4)


MISTAKES = [
    (("--variants", "rank2", "--recipe", "papr"), "--recipe: 'papr' is not one of paper, short, did you mean 'paper'?"),
    (("--variants", "rank2", "--out", ""), "--out: it is empty"),
    (("--variants", "rank2", "--epochs", "0"), "--epochs: '0' is not a whole number from 1"),
    (("--variants", "rank2", "--lr", "fast"), "--lr: 'fast' is not a number between 0 and 100"),
    (("--variants", "rank2", "--fill", "300"), "--fill: 300 is no grey level: it takes 0 to 255"),
    (("--variants", "rank2", "--seeds", "1,x"), "--seeds: 'x' is not a whole number from 0"),
    (("--variants", "rank2", "--network", "resnet18_cifra"), "did you mean 'resnet18_cifar'?"),
    (("--variants", "rank2", "--network", "no.such:thing"), "No module named 'no'"),
    (("--variants", "rank2", "--network", "pipeline.study.networks.small:small_cnn"), "gives 10 logits an image"),
    (
        ("--variants", "rank2", "--network", "tests.unit.study.test_models:Raises"),
        "32 x 32 pixels: KeyError: 'no\\nkey'",
    ),
    (("--variants", "rank2", "--device", "gpu"), "give cpu, or leave it away"),
    (("--variants", "rank2", "--variant", "rank2"), "unknown option '--variant', did you mean '--variants'?"),
    (("--variants", "highrank3-exact"), "has rank2, highrank2, full"),
    (("--variants", "rank2", "--test-split", "dev"), "has train, test"),
    (("--variants", "rank2", "--test-keys", "nowhere.txt"), "nowhere.txt: No such file or directory"),
]


@pytest.mark.parametrize(("arguments", "line"), MISTAKES)
def test_mistakes_are_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], line: str, run: Train, tmp_path: Path
) -> None:
    result = run(*arguments, "--out", tmp_path / "run")
    assert line in result.err
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert result.status == (1 if "nowhere" in line else 2)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_where_one_was_asked_for(run: Train, tmp_path: Path) -> None:
    result = run("--variants", "rank2", "--device", "cuda", "--out", tmp_path / "run")
    assert result.status == 2
    assert result.err.startswith("error: --device cuda: ")
    assert result.err.endswith("; give cpu, or leave it away\n")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(("command", "option"), [("train", "--recipe"), ("attack", "--eps")])
def test_help_is_quick(command: str, option: str) -> None:
    arguments = [sys.executable, "-m", f"pipeline.study.{command}", "--help"]
    times = []
    for _ in range(5):  # the best of five: the machine may be busy
        began = time.monotonic()
        assert option in subprocess.check_output(arguments, text=True)
        times.append(time.monotonic() - began)
    assert min(times) < 0.5
