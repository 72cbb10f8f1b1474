"""Promise: an image that kills its worker is found, rejected and reported. All other images are built, and repaired."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.execution import deadly_images
from pipeline.execution.run import plan_job
from pipeline.planning.job import Job
from pipeline.planning.shard_task import Progress, ShardTask, shard_tasks
from pipeline.repair import main as repair
from pipeline.storage.local_store import LocalStore
from tests.conftest import contents
from tests.faults.builds import Ended, run, status_in_a_fork

pytestmark = pytest.mark.fault


def job(folder: Path) -> tuple[str, ...]:
    """Returns the options of a build with a shard for each class, which has four images."""
    shards = ("--order", "source", "--samples-per-shard", "4")
    return ("--dataset", "folder", "--data-dir", str(folder), "--ranks", "2,5", *shards)


def rejects(out: Path) -> dict[str, str]:
    lines = (out / "rejects.jsonl").read_text().splitlines()
    return {reject["name"]: reject["reason"] for reject in map(json.loads, lines)}


def without_reasons(out: Path) -> dict[str, bytes]:
    """Returns all published files without the rejects, whose size and hash are removed from the manifest."""
    files = contents(out)
    manifest = json.loads(files["manifest.json"])
    assert files.pop("rejects.jsonl")
    del manifest["files"]["rejects.jsonl"]
    return files | {"manifest.json": json.dumps(manifest).encode()}


def assert_as_if_undecodable(folder: Path, out: Path) -> None:
    """Checks that the bytes are those of a build in which the rejected images cannot be decoded."""
    for name in rejects(out):
        path = folder / name
        path.write_bytes(bytes(path.stat().st_size))
    other = out.parent / "undecodable"
    assert status_in_a_fork(*job(folder), out=other) == 3
    assert without_reasons(other) == without_reasons(out)


def assert_reported(ended: Ended, count: int) -> None:
    *before, last = ended.err.splitlines()
    assert all(line.startswith("trying again: ") for line in before), ended.err
    assert "looking for an image that kills it" in ended.err
    assert last.startswith(f"{count} image{'s were' if count > 1 else ' was'} rejected (")
    assert ended.status == 3


@pytest.mark.ray
def test_images_that_kill_their_workers_are_rejected_and_the_rest_is_built(
    trapped: Callable[..., Path], tmp_path: Path
) -> None:
    """Two deadly images in one shard, one by a signal and one by an exit. In the other shard memory does not suffice."""
    folder, out = trapped(each=4, a00="SEGFAULT", a03="EXIT", b02="MEMORY"), tmp_path / "out"
    ended = run(*job(folder), "--workers", 2, out=out)
    assert_reported(ended, 3)
    assert "out of memory" in ended.err
    assert rejects(out) == {
        "a/00.png": "kills its worker (SIGSEGV)",
        "a/03.png": "kills its worker (exit status 7)",
        "b/02.png": "kills its worker (out of memory)",
    }
    runs = [json.loads(line) for line in (out / ".build" / "runs.jsonl").read_text().splitlines()]
    assert runs[-1]["event"] == "finished"
    assert runs[-1]["retried"] == {"train-000000": 2, "train-000001": 2}
    assert runs[-1]["retries"] == 4
    before, tar = contents(out), out / "folder-rank2" / "folder-rank2-train-000000.tar"
    (out / "rejects.jsonl").unlink()
    tar.write_bytes(bytes(tar.stat().st_size))
    assert repair([str(out), "--source", str(folder)]) == 0
    assert contents(out) == before
    assert_as_if_undecodable(folder, out)
    assert status_in_a_fork(*job(folder), out=out) == 3  # tried again, and undecodable now
    assert len(set(rejects(out).values())) == 1


def test_images_for_which_memory_does_not_suffice_are_rejected_and_the_rest_is_built(
    trapped: Callable[..., Path], tmp_path: Path
) -> None:
    """Without workers no process dies: Python raises MemoryError."""
    folder, out = trapped(each=4, a03="MEMORY", b02="MEMORY"), tmp_path / "out"
    ended = run(*job(folder), "--workers", 0, out=out)
    assert_reported(ended, 2)
    assert "out of memory" in ended.err
    assert rejects(out) == dict.fromkeys(["a/03.png", "b/02.png"], "kills its worker (out of memory)")
    assert_as_if_undecodable(folder, out)


@pytest.fixture
def task(trapped: Callable[..., Path], tmp_path: Path) -> Callable[..., ShardTask]:
    """Returns the only shard of a job whose images have effects."""

    def make(**deeds: str) -> ShardTask:
        options = {"dataset": "folder", "data-dir": str(trapped(**deeds)), "ranks": "2", "order": "source"}
        described = Job.parse(options | {"out": str(tmp_path / "out")})
        source, plan = plan_job(described)
        (only,) = shard_tasks(LocalStore(tmp_path / "out"), source, plan, False, "run")
        return only

    return make


def test_a_killer_is_found_in_about_two_trials_a_halving(
    task: Callable[..., ShardTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = []
    real = deadly_images._Child.survives

    def survives(self: deadly_images._Child, start: int, stop: int) -> bool:
        trials.append((start, stop))
        return real(self, start, stop)

    monkeypatch.setattr(deadly_images._Child, "survives", survives)
    progress = Progress()
    assert deadly_images.find(task(b03="SEGFAULT"), progress) == {11: "kills its worker (SIGSEGV)"}
    assert len(trials) <= 1 + 2 * 4 + 2
    assert progress.now.stage == "trial"


def test_a_shard_without_a_killer_loses_no_image(task: Callable[..., ShardTask]) -> None:
    """The workers were killed from outside."""
    assert deadly_images.find(task(), Progress()) == {}


def test_the_search_imports_no_module_of_the_current_folder(
    task: Callable[..., ShardTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipeline.py").write_text("raise RuntimeError('the user has pipeline.py')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)  # as in a notebook
    with deadly_images._Child(task()) as child:
        assert child.survives(0, 0)


def test_a_process_that_dies_of_nothing_blames_no_image(
    task: Callable[..., ShardTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadly_images._Child, "survives", lambda self, start, stop: False)
    assert deadly_images.find(task(), Progress()) == {}


def test_a_death_by_chance_blames_no_image(task: Callable[..., ShardTask], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first processes are killed from outside, down to a single image, and then no more."""
    lives = iter([False] * 5)
    monkeypatch.setattr(deadly_images._Child, "survives", lambda self, start, stop: next(lives, True))
    assert deadly_images.find(task(), Progress()) == {}


def test_too_many_killers_are_not_the_images_fault(
    task: Callable[..., ShardTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadly_images._Child, "survives", lambda self, start, stop: start == stop)
    with pytest.raises(PipelineError, match="more than 8 of its images kill their worker, b/00.png among them"):
        deadly_images.find(task(), Progress())


def test_without_workers_the_death_is_the_users_to_see(trapped: Callable[..., Path], tmp_path: Path) -> None:
    """There is no child process that could die; what is committed stays."""
    ended = run(*job(trapped(each=4, b03="SEGFAULT")), "--workers", 0, out=tmp_path / "out")
    assert ended.status == -11
    assert (tmp_path / "out" / ".build" / "records" / "train-000000.json").exists()
