"""Streamed trainings: every sample once per epoch over all processes, and a killed run ends like an undisturbed one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data import RankDataset
from pipeline.errors import UsageError
from pipeline.study.train import main
from pipeline.study.training import checkpoint
from pipeline.study.training.data import Selection, VariantImages, moments, read_variant
from pipeline.study.training.recipe import RECIPES
from pipeline.study.training.runs import Runs, _check_shares
from pipeline.study.training.streamed import Stream, Streamed
from tests.unit.study.conftest import table

ROOT = Path(__file__).resolve().parents[4]
EPOCHS = 12
NETWORK = "tests.unit.study.test_train:tiny"


def streams(root: Path, variant: str, processes: int, workers: int = 0) -> list[VariantImages]:
    return [read_variant(Selection(root), variant, Stream(rank, processes, workers)) for rank in range(processes)]


def job(root: Path, out: Path, *more: object) -> list[str]:
    recipe = ("--network", NETWORK, "--epochs", EPOCHS, "--batch", 40, "--seeds", 0, "--device", "cpu", "--quiet")
    return [str(part) for part in (root, "--variants", "full", "--stream", *recipe, "--out", out, *more)]


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    """Starts two processes, which find each other on a free port."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    return subprocess.Popen(
        [*start, "-m", "pipeline.study.train", *arguments],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def curve(out: Path) -> list[dict[str, str]]:
    rows = table(out / "full" / "seed0" / "curve.csv")
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize(("processes", "batch"), [(1, 40), (2, 40), (3, 7), (5, 96), (4, 1000)])
def test_every_sample_once_per_epoch_and_equal_steps(processes: int, batch: int, sample_out: Path) -> None:
    crops = [images.train.augmented(0, 0) for images in streams(sample_out, "full", processes)]
    shares = [data.shares(batch, seed=3) for data in crops]  # type: ignore[union-attr]
    assert {len(steps) for steps in shares} == {data.steps(batch) for data in crops}
    assert sorted(np.concatenate([np.concatenate(steps) for steps in shares])) == list(range(96))
    for step in zip(*shares, strict=True):
        assert min(map(len, step)) >= 1
        assert sum(map(len, step)) <= batch


def test_the_images_of_an_epoch_do_not_depend_on_processes_and_workers(sample_out: Path) -> None:
    def images(processes: int, workers: int) -> list[bytes]:
        parts = [one.train.augmented(4, 0).epoch(40, 3) for one in streams(sample_out, "highrank2", processes, workers)]
        return sorted(
            bytes([label]) + x.numpy().tobytes()
            for part in parts
            for xs, ys in part
            for x, label in zip(xs, ys, strict=True)
        )

    alone = images(1, 0)
    assert len(alone) == 96
    assert images(2, 1) == alone


@pytest.mark.parametrize("variant", ["rank2", "rank5"])  # stored, and cut from full
def test_streamed_test_images_and_moments_are_those_in_memory(variant: str, sample_out: Path) -> None:
    memory, (streamed,) = read_variant(Selection(sample_out), variant), streams(sample_out, variant, 1)
    for whole, part in ((memory.train, streamed.train), (memory.test, streamed.test)):
        for (x, labels), (y, others) in zip(whole.batches(50), part.batches(50), strict=True):
            assert torch.equal(x, y)
            assert torch.equal(labels, others)
    assert moments(memory.train) == moments(streamed.train)


def test_images_are_read_when_they_are_needed(sample_out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    decode = RankDataset.decode

    def counted(data: RankDataset, at: int) -> object:
        read.append(int(at))
        return decode(data, at)

    monkeypatch.setattr(RankDataset, "decode", counted)
    (images,) = streams(sample_out, "full", 1)
    assert isinstance(images.train, Streamed)
    assert not read
    next(images.train.augmented(4, 0).epoch(8, 0))
    assert len(read) == 8


def test_a_killed_run_of_two_processes_ends_like_an_undisturbed_one(sample_out: Path, tmp_path: Path) -> None:
    whole, parts = (torchrun(*job(sample_out, tmp_path / name)) for name in ("whole", "parts"))
    saved = tmp_path / "parts" / "full" / "seed0" / checkpoint.NAME
    while not saved.exists() and parts.poll() is None:
        time.sleep(0.002)
    errors = kill_first(parts)
    assert [line for line in errors.splitlines() if line.startswith("error: another process of the training ended")]
    assert errors.count("error: ") == 1
    assert 1 <= len(torch.load(saved, weights_only=True)["rows"]) < EPOCHS
    _, errors = whole.communicate(timeout=120)
    assert whole.returncode == 0, errors
    again = torchrun(*job(sample_out, tmp_path / "parts"))
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")
    first, second = (
        torch.load(tmp_path / name / "full" / "seed0" / "weights.pt", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone = tmp_path / "alone"
    assert main(job(sample_out, alone)) == 0  # the network has no batch norm: only rounding differs
    for one, two in zip(curve(alone), curve(tmp_path / "whole"), strict=True):
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), abs=2e-5)


def kill_first(run: subprocess.Popen[str]) -> str:
    """Kills the process of the run that writes its files. Returns stderr of the other one and of torchrun."""
    first, *_ = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(first), signal.SIGKILL)
    return run.communicate(timeout=60)[1]


@pytest.mark.parametrize(
    ("processes", "batch", "line"), [(97, 400, "97 processes .* 96 training images"), (3, 5, "--batch 5.* 6 or more")]
)
def test_shares_without_images_are_refused(processes: int, batch: int, line: str, sample_out: Path) -> None:
    recipe = replace(RECIPES["short"], batch=batch)
    runs = Runs(Selection(sample_out), ("full",), NETWORK, (0,), recipe, 4, None, "cpu", "float32", True, 0)
    with pytest.raises(UsageError, match=line):
        _check_shares(96, runs, processes)


def test_mistakes_are_one_line(refused: Callable[..., str], sample_out: Path, tmp_path: Path) -> None:
    assert "--stream" in refused(
        main, *[part for part in job(sample_out, tmp_path) if part != "--stream"], "--workers", 1
    )
    assert main(job(sample_out, tmp_path, "--epochs", 1)) == 0
    assert "holds a training with" in refused(main, *job(sample_out, tmp_path, "--lr", "0.05"))
    saved = tmp_path / "full" / "seed0" / checkpoint.NAME
    state = torch.load(saved, weights_only=True)
    state["module"] = {f"other.{name}": value for name, value in state["module"].items()}
    torch.save(state, saved)
    assert "checkpoint of another network" in refused(main, *job(sample_out, tmp_path, "--epochs", 1))
