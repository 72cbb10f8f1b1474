"""Promise: a build without a free worker reports that it waits and for what, and continues when it gets one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.conftest import Nodes
from tests.faults.builds import Build, assert_undisturbed

pytestmark = pytest.mark.ray

JOB = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "20", "--limit", "40")
_HOLD = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=1)
class Holder:
    def there(self):
        pass
holder = Holder.remote()
ray.get(holder.there.remote())
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def all_cpus_taken(address: str) -> Iterator[None]:
    """Another driver holds the only CPU with an actor."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, address],
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield
        process.communicate()


def test_a_build_without_workers_says_what_it_waits_for(one_node: Nodes, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    job = (*JOB, "--address", one_node.address, "--stall", 1, "--log-json", log)
    with all_cpus_taken(one_node.address):
        build = Build(*job, out=out)
        build.wait_for(lambda: log.exists() and log.read_text().count('"waiting"') >= 2, pause=0.05)
    with build:
        ended = build.end()
    lines = ended.err.splitlines()
    assert (ended.status, ended.out) == (0, ""), ended
    assert lines[0].startswith("no worker has begun any of 2 shards for ")
    assert lines[0].endswith("each needs 1 CPU and 800 MB, and 0 of 1 CPUs and 1024 of 1024 MB are free")
    assert "continues: a worker has begun" in lines
    assert json.loads(log.read_text().splitlines()[1])["event"] == "waiting"
    assert_undisturbed(*JOB, out=out)
