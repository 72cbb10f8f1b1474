"""Promises of ``jobs/``: each file is a valid cluster configuration for Ray and a valid job for this program."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import submit
from pipeline.errors import PipelineError
from pipeline.planning.job import Job
from pipeline.planning.job_file import read_job_file
from tests.cluster.conftest import ROOT

JOBS = ROOT / "jobs"
FILES = sorted(set(JOBS.glob("*.yaml")) - {JOBS / "kuberay.yaml"})  # that one is not for Ray's cluster launcher


def test_the_ready_jobs_are_there() -> None:
    assert {file.stem for file in FILES} == {"aws", "cifar10", "imagenet_rank50", "imagenet_ranks"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_ray_s_own_validator_takes_every_job_file(file: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load(file.read_text())))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_job_reads_the_same_to_ray_and_to_the_build(file: Path) -> None:
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    assert Job.parse(read_job_file(file)) == Job.parse(document["metadata"]["job"])


@pytest.mark.parametrize(
    ("stem", "ranks"), [("cifar10", (3, 5, 10, 20)), ("imagenet_rank50", (50,)), ("imagenet_ranks", (30, 40, 50, 100))]
)
def test_a_job_cuts_at_the_ranks_of_its_name(stem: str, ranks: tuple[int, ...]) -> None:
    job = Job.parse(read_job_file(JOBS / f"{stem}.yaml"))
    assert {variant.name for variant in job.variants} == {f"{c}{k}" for k in ranks for c in ("rank", "highrank")}


class Head:
    """A home folder as ``ray up`` leaves it on the head, with ``run.py``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        python = home / "rank-shards" / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text('#!/bin/sh\necho "$@"\n')
        python.chmod(0o755)

    def up(self, job: dict[str, Any]) -> None:
        (self.home / "new").write_text(json.dumps({"metadata": {"job": job}}))
        (self.home / "new").replace(self.home / "ray_bootstrap_config.yaml")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(JOBS / "run.py"), *arguments]
        return subprocess.run(command, env=os.environ | {"HOME": str(self.home)}, capture_output=True, text=True)


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path / "home")


def digest(job: dict[str, Any]) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:12]


def test_the_head_builds_the_job_of_the_last_ray_up(head: Head) -> None:
    head.up({"dataset": "sample", "ranks": [3]})
    ran = head.run("--limit", "6")
    taken = head.home / ".rank-shards-job.json"
    assert ran.stdout.splitlines()[-1] == f"-m pipeline.build --config {taken} --address auto --limit 6"
    assert read_job_file(taken) == {"dataset": "sample", "ranks": ["3"]}


def test_a_copy_that_may_be_stale_is_not_run_again(head: Head) -> None:
    head.up({"ranks": [3]})
    assert head.run().returncode == 0
    again = head.run()
    assert again.returncode == 1
    assert "has run before, and your file may have changed; refresh it with: ray up" in again.stderr
    head.up({"ranks": [3]})
    assert head.run().returncode == 0


def test_an_unchanged_job_runs_again_after_each_ray_up(head: Head) -> None:
    """``ray up`` sends nothing then. ``jobs/shell.sh`` notes that it was called."""
    head.up({"ranks": [3]})
    up = head.home / ".rank-shards-up"
    for _ in range(2):
        assert head.run().returncode == 0
        assert head.run().returncode == 1
        up.write_text("")
    os.utime(up, ns=(0, 0))  # before the last run
    assert head.run().returncode == 1


def test_a_digest_tells_a_stale_copy_from_a_repeated_job(head: Head) -> None:
    old, new = {"ranks": [3]}, {"ranks": [5]}
    head.up(old)
    assert head.run("--digest", digest(old)).returncode == head.run("--digest", digest(old)).returncode == 0
    stale = head.run("--digest", digest(new))
    assert stale.returncode == 1
    assert stale.stderr.startswith(f"error: the job on this head is {digest(old)}, yours is {digest(new)}; refresh it")


def test_a_head_without_a_job_says_so(head: Head) -> None:
    ran = head.run()
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "holds no job (No such file or directory)" in ran.stderr


def test_a_heads_job_that_is_none_is_one_line(head: Head) -> None:
    for content in ("[]", "{", '{"metadata": []}', "null"):
        (head.home / "ray_bootstrap_config.yaml").write_text(content)
        ran = head.run()
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
        assert "holds no job (damaged, or not a configuration)" in ran.stderr


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "No such file or directory"),
        ("metadata: {job: {ranks: 3}}", "has no section provider"),
        ("metadata: {job: {ranks: 0}}", "ranks: 0 is too small"),
        ("metadata: {job: {dataset: sample}}", "ranks: none given"),
        ("metadata: {job: {ranks: 3}}\nmore: 2026-99-99", "is not valid YAML to Ray"),
        ("metadata: {job: {ranks: 3}}\nmore: =", "is not valid YAML to Ray"),
    ],
)
def test_a_job_file_that_cannot_be_submitted_is_named_once(
    content: str | None, line: str, head: Head, tmp_path: Path
) -> None:
    path = tmp_path / "job.yaml"
    if content is not None:
        path.write_text(content)
    ran = head.run(str(path))
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert ran.stderr.startswith(f"error: config {path}") and ran.stderr.count(str(path)) == 1
    assert line in ran.stderr


@pytest.mark.parametrize(
    ("job", "line"),
    [
        ({"ranks": [3], "rnaks": 3}, "unknown key 'rnaks' in metadata.job, did you mean 'ranks'?"),
        ({"ranks": [3], "dataset": "cifr10"}, "dataset: 'cifr10' is not one of "),
    ],
)
def test_a_job_that_ray_takes_and_the_build_does_not_is_refused_before_ray_up(
    job: dict[str, Any], line: str, head: Head, tmp_path: Path
) -> None:
    document = yaml.safe_load((JOBS / "cifar10.yaml").read_text()) | {"metadata": {"job": job}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    ran = head.run(str(tmp_path / "job.yaml"))
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert line in ran.stderr


@pytest.mark.parametrize("image", ["ami-EDIT", None])
def test_a_cluster_of_aws_without_an_image_is_refused_before_ray_up(
    image: str | None, head: Head, tmp_path: Path
) -> None:
    document = yaml.safe_load((JOBS / "aws.yaml").read_text())
    document["available_node_types"]["head"]["node_config"]["ImageId"] = "ami-0123456789abcdef0"
    document["available_node_types"]["worker"]["node_config"]["ImageId"] = image
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    ran = head.run(str(tmp_path / "job.yaml"))
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "node type worker has no ImageId" in ran.stderr


def test_a_key_or_a_file_that_is_not_here_is_named_before_ray_up(head: Head, tmp_path: Path) -> None:
    document = yaml.safe_load((JOBS / "imagenet_rank50.yaml").read_text())
    document["auth"]["ssh_private_key"] = str(tmp_path / "key")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    for line in (
        f"there is no {tmp_path / 'key'}; set auth.ssh_private_key",
        "file_mounts sends pipelin, which does not",
    ):
        ran = head.run(str(tmp_path / "job.yaml"))
        assert (ran.returncode, ran.stderr.count("\n")) == (2, 1) and line in ran.stderr
        (tmp_path / "key").touch()
        document["file_mounts"]["~/rank-shards/pipeline"] = "pipelin"
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))


def test_a_file_of_kubernetes_is_not_submitted_to_ray(head: Head) -> None:
    ran = head.run(str(JOBS / "kuberay.yaml"))
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1) and "kubectl apply -f" in ran.stderr


def test_a_missing_boto3_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = yaml.safe_load((JOBS / "aws.yaml").read_text())
    for node_type in document["available_node_types"].values():
        node_type["node_config"]["ImageId"] = "ami-0123456789abcdef0"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PipelineError, match="pip install boto3"):
        submit._check_aws(tmp_path / "job.yaml", document)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--limt", "1000"], "unknown option '--limt', did you mean '--limit'?; see --help"),
        (["--limit", "many"], "limit: 'many' is not a whole number (config "),
        (["--config", "other.yaml"], "--config cannot be used with "),
    ],
)
def test_a_wrong_flag_is_reported_before_ray_up(flags: list[str], line: str, head: Head) -> None:
    ran = head.run(str(JOBS / "cifar10.yaml"), *flags)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert ran.stderr.startswith(f"error: {line}")


def test_flags_win_over_the_job_file_before_ray_up_too(head: Head, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("metadata: {job: {dataset: sample, limit: [wrong]}}")
    ran = head.run(str(tmp_path / "job.yaml"), "--ranks", "3", "--limit", "5")
    assert "has no section provider" in ran.stderr  # the next check


def test_a_number_that_ray_reads_otherwise_is_refused(head: Head, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("metadata: {job: {dataset: sample, ranks: [010]}}\nprovider: {type: local}\n")
    ran = head.run(str(tmp_path / "job.yaml"))
    assert ran.returncode == 2
    assert "reads metadata.job differently" in ran.stderr
