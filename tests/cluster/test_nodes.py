"""Promises of builds on several nodes: the same bytes, also if nodes leave and join; and the checks before work starts."""

import contextlib
import json
import re
import signal
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.verify import main
from tests.cluster.conftest import Nodes, children
from tests.faults.builds import Build, assert_undisturbed, committed, ends_well_in_a_fork, one_line, run

pytestmark = pytest.mark.ray

JOB = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "20")
EXACT = ("--ranks", "3,5,10,20", "--components", "low,high,full", "--exact")
LONG = ("--dataset", "sample", *EXACT, "--samples-per-shard", "5")

Start = Callable[..., Nodes]


def test_three_nodes_write_the_bytes_of_one_process(nodes: Start, tmp_path: Path) -> None:
    cluster = nodes()
    ended = run(*JOB, "--address", cluster.address, out=tmp_path / "out")
    assert (ended.status, ended.err) == (0, ""), ended
    assert_undisturbed(*JOB, out=tmp_path / "out")


def test_an_image_that_kills_its_workers_on_the_nodes_is_found(
    trapped: Callable[..., Path], nodes: Start, tmp_path: Path
) -> None:
    folder, out = trapped(b03="SEGFAULT"), tmp_path / "out"
    job = ("--dataset", "folder", "--data-dir", folder, "--ranks", 2, "--order", "source", "--samples-per-shard", 8)
    ended = run(*job, "--address", nodes(2).address, "--log-json", tmp_path / "log", out=out)
    assert ended.status == 3, ended
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {event["node"] for event in events if event["event"] == "retry"} == {socket.gethostname()}
    (reject,) = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert (reject["name"], reject["reason"]) == ("b/03.png", "kills its worker (SIGSEGV)")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["splits"]["train"]["rejects"] == 1
    assert main([str(out), "--source", str(folder), "--workers", "1"]) == 0


@pytest.mark.full
def test_a_node_may_go_and_another_come_in_mid_build(nodes: Start, tmp_path: Path) -> None:
    cluster, out = nodes(), tmp_path / "out"
    with Build(*LONG, "--address", cluster.address, out=out) as build:
        build.wait_for_commits(10)
        assert cluster.tell("kill") == "killed"
        raylet = int(cluster.tell("add"))
        assert committed(out) < 400, "too late to tell"
        build.wait_for(lambda: any("ray::shard " in title for title in children(raylet)))
        ended = build.end()
    assert ended.status == 0, ended
    assert all(line.startswith("trying again: ") for line in ended.err.splitlines())
    assert_undisturbed(*LONG, out=out)


@pytest.mark.full
def test_a_driver_that_dies_resumes_on_the_same_cluster(nodes: Start, tmp_path: Path) -> None:
    cluster, out = nodes(2), tmp_path / "out"
    with Build(*LONG, "--address", cluster.address, out=out) as build:
        build.wait_for_commits(10)
        build.send(signal.SIGKILL)
        build.end()
    done = committed(out)
    ended = run(*LONG, "--address", cluster.address, out=out)
    assert (ended.status, ended.err) == (0, ""), ended
    assert_undisturbed(*LONG, out=out)
    events = [json.loads(line) for line in (out / ".build" / "runs.jsonl").read_text().splitlines()]
    assert events[-1]["images"] <= 2138 - 5 * done + 50


def metrics(cluster: Nodes) -> dict[str, float]:
    """Returns this program's metrics at Ray's Prometheus endpoints, by ``name{labels}``, without Ray's own labels."""
    values = {}
    for address in cluster.tell("metrics").split():
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if matched := re.match(r"ray_rank_shards_(\w+)\{(.*)\} (\S+)$", line):
                    labels = re.findall(r'\b(node|run|stage)="([^"]*)"', matched[2])
                    values[f"{matched[1]} {' '.join(value for _, value in labels)}"] = float(matched[3])
    return values


def test_ray_shows_metrics_of_a_build_by_node_and_run(one_node: Nodes, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    with Build(*LONG, "--limit", 150, "--address", one_node.address, "--log-json", log, out=out) as build:
        build.wait_for(lambda: any(name.startswith("images_total ") for name in metrics(one_node)), pause=0.2)
        assert committed(out) < 60, "too late to tell"
        ended = build.end()
    assert ended.status == 0, ended
    events = [json.loads(line) for line in log.read_text().splitlines()]
    host, run_id = socket.gethostname(), json.loads((out / ".build" / "runs.jsonl").read_text().splitlines()[-1])["run"]
    assert {event["node"] for event in events if event["event"] == "shard"} == {host}
    values = metrics(one_node)
    assert values[f"shards_total {host} {run_id}"] == 60  # the end of the build loses none
    assert values[f"images_total {host} {run_id}"] == 300
    stages = {name.split()[-1] for name in values if name.startswith(f"stage_seconds_total {host} {run_id} ")}
    assert stages == {"read", "decode", "svd", "encode", "write"}


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
def test_a_signal_stops_the_driver_in_one_line(how: signal.Signals, one_node: Nodes, tmp_path: Path) -> None:
    """``ray job stop`` and ``scancel`` send SIGTERM. The same command then continues."""
    out, log = tmp_path / "out", tmp_path / "log"
    with Build(*JOB, "--address", one_node.address, "--log-json", log, out=out) as build:
        build.wait_for_commits(3)
        build.send(how)
        ended = build.end(within=10)
    assert (ended.status, ended.err) == (
        1,
        "stopped; what is committed stays, and the same command continues from there\n",
    )
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["event"], last["status"], last["message"]) == ("failed", 1, "stopped")
    assert 3 <= committed(out) < 108
    ends_well_in_a_fork(*JOB, out=out)
    assert_undisturbed(*JOB, out=out)


@pytest.mark.parametrize(
    ("moment", "reason"),
    [("", "Connection refused"), ("address.dial = lambda _: None", "it does not answer")],
    ids=["before the driver asks for its nodes", "while it asks"],
)
def test_a_lost_head_is_one_line(moment: str, reason: str, nodes: Start, tmp_path: Path) -> None:
    cluster, out = nodes(1), tmp_path / "out"
    log, prelude = tmp_path / "log", f"from pipeline.execution.ray import address, nodes\nnodes._HEADLESS = 1\n{moment}"
    with Build(*LONG, "--address", cluster.address, "--log-json", log, out=out, prelude=prelude) as build:
        build.wait_for_commits(3)
        cluster.behead()
        ended = build.end()
    line = one_line(ended)
    # The head may also go just at that moment.
    assert (line if moment else line.replace("it does not answer", "Connection refused")) == (
        f"--address {cluster.address}: the cluster's head is gone ({reason}); the same command continues from "
        "what is committed"
    )
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["event"], last["status"], last["message"]) == ("failed", 1, line)
    assert 3 <= committed(out) < 400


def test_a_cluster_whose_nodes_are_too_small_is_refused(small_node: Nodes, tmp_path: Path) -> None:
    ended = run(*JOB, "--address", small_node.address, out=tmp_path / "out")
    assert one_line(ended) == (
        f"--address {small_node.address}: none of its 1 nodes can run a shard, which needs 1 CPU and 800 MB; "
        "the largest have 1 CPUs, and 300 MB"
    )


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        (
            "node_check.versions = lambda: (('Python', '3.11'), ('numpy', '1.0'))",
            "(the driver has 1.0); install the same",
        ),
        (
            "node_check.code = lambda: 'another'",
            "has another version of this program than the driver; bring every node",
        ),
    ],
)
def test_a_node_that_differs_is_named_before_work_starts(
    one_node: Nodes, tmp_path: Path, patch: str, text: str
) -> None:
    out, prelude = tmp_path / "out", f"from pipeline.execution.ray import node_check\n{patch}"
    ended = run(*JOB, "--address", one_node.address, out=out, prelude=prelude)
    line = one_line(ended)
    assert line.startswith("node ")
    assert text in line
    assert committed(out) == 0


def test_a_node_without_the_output_folder_is_named(one_node: Nodes, tmp_path: Path) -> None:
    prelude = (
        "from dataclasses import replace\nfrom pathlib import Path\nfrom pipeline.execution.ray import cluster\n"
        "expected = cluster.Expected\n"
        "cluster.Expected = lambda *fields: replace(expected(*fields), lock=Path('/nowhere/.build/lock'))"
    )
    ended = run(*JOB, "--address", one_node.address, out=tmp_path / "out", prelude=prelude)
    assert one_line(ended).endswith(
        "does not see the output in /nowhere; --out must be a folder that every node shares"
    )


def test_a_refused_cluster_leaves_a_finished_output_finished(small_node: Nodes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ends_well_in_a_fork(*JOB, "--limit", "40", out=out)
    assert run(*JOB, "--address", small_node.address, out=out).status == 1
    assert (out / "manifest.json").exists()


def test_a_token_is_sent_and_a_wrong_one_is_reported(
    nodes: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = nodes(1, token="open-sesame")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abracadabra")
    ended = run(*JOB, "--address", cluster.address, out=tmp_path / "out")
    line = one_line(ended)
    assert line.startswith(f"--address {cluster.address}: the cluster needs a token and refuses yours")
    assert "RAY_AUTH_MODE=token" in line and "RAY_AUTH_TOKEN" in line
    assert ended.seconds < 15
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "open-sesame")
    ended = run(*JOB, "--limit", "40", "--address", cluster.address, out=tmp_path / "out")
    assert (ended.status, ended.err) == (0, "")
