"""Promises of ``--address``: which cluster is used, and an error within seconds if it cannot do the job."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.execution.ray import address
from pipeline.planning.job import Job
from tests.cluster.conftest import Nodes

Refused = Callable[..., str]
JOB = ("--dataset", "sample", "--ranks", "3", "--limit", "6")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def deaf() -> Iterator[str]:
    """Returns the address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refused_address(refused: Refused, address: str, status: int, workers: str = "2") -> str:
    start = time.monotonic()
    line = refused(*JOB, "--workers", workers, "--address", address, status=status)
    assert time.monotonic() - start < 12
    return line


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265", "head", "head:", ":6379", "a b:1", ""])
def test_an_address_of_another_kind_is_wrong_usage(address: str, refused: Refused, here: Path) -> None:
    line = refused_address(refused, address, status=2)
    assert line.startswith("address: ")
    assert list(here.iterdir()) == []


def test_an_address_does_not_go_with_a_build_in_this_process(refused: Refused, here: Path) -> None:
    line = refused_address(refused, "auto", status=2, workers="0")
    assert line == "workers: 0 builds in this process, which does not go with --address; leave one of them out"


def test_an_address_that_nobody_answers_is_one_line_within_seconds(refused: Refused, here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    line = refused_address(refused, f"127.0.0.1:{port}", status=1)
    assert line == f"--address 127.0.0.1:{port}: nobody answers (Connection refused); is the cluster's head up?"
    assert list(here.iterdir()) == []


def test_a_host_that_does_not_exist_is_named(refused: Refused, here: Path) -> None:
    line = refused_address(refused, "no-such-host.invalid:6379", status=1)
    assert line.startswith("--address no-such-host.invalid:6379: nobody answers (")


def test_a_server_that_is_not_a_ray_head_is_reported_within_seconds(refused: Refused, here: Path, deaf: str) -> None:
    line = refused_address(refused, deaf, status=1)
    assert line == f"--address {deaf}: this is not a Ray head; give the host:port that ray start --head prints"


def test_auto_without_any_cluster_says_so(refused: Refused, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(here))
    monkeypatch.setattr(address, "_running", set)  # another test's cluster may run
    line = refused_address(refused, "auto", status=1)
    assert line == "--address auto: no Ray cluster runs on this machine; start or join one with ray start"


@pytest.mark.ray
def test_auto_finds_a_cluster_with_its_own_temporary_folder(one_node: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/nowhere")  # Ray's usual folder, where one_node has left no file
    try:
        found = address.find("auto")
    except PipelineError as error:  # another cluster runs on this machine, too
        found = str(error).partition("give one of ")[2]
    assert found
    assert one_node.address in found.split(", ")


def test_several_clusters_are_named(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(here))
    monkeypatch.setattr(address, "_running", lambda: {"10.0.0.2:6379", "10.0.0.1:6379"})
    with pytest.raises(PipelineError, match=r"several .*; give one of 10.0.0.1:6379, 10.0.0.2:6379"):
        address.find("auto")
    (here / "ray").mkdir()
    (here / "ray" / "ray_current_cluster").write_text("10.0.0.2:6379")  # as ray start leaves it
    assert address._on_this_machine() == "10.0.0.2:6379"


def test_auto_takes_ray_s_own_variable(
    refused: Refused, here: Path, deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", deaf)
    assert refused_address(refused, "auto", status=1).startswith(f"--address {deaf}: this is not")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert refused_address(refused, "auto", status=2).startswith("RAY_ADDRESS is http://127.0.0.1:8265; ")


def test_inside_of_a_ray_job_its_cluster_is_meant(
    refused: Refused, here: Path, deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", deaf)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert refused(*JOB, "--workers", "2", status=1).startswith(f"--address {deaf}: this is not")


@pytest.mark.parametrize("how", ["--workers=0", "--address=local", "--dry-run"])
def test_the_folder_that_a_ray_job_works_in_takes_no_output(
    how: str, refused: Refused, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    line = refused(*JOB, how, status=1)
    assert line == f"--out {folder / 'out/sample'} is the job's temporary folder; give a path that every node shares"
    assert list(folder.iterdir()) == []
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR")  # outside a Ray job the name of the folder means nothing
    address.check_output(Path("out/sample"))


def test_the_address_is_no_part_of_what_is_built() -> None:
    job = {"dataset": "sample", "ranks": "3"}
    assert Job.parse({**job, "address": "10.0.0.1:6379"}).variants == Job.parse(job).variants
    assert Job.parse({**job, "address": "[::1]:6379"}).address == "[::1]:6379"
