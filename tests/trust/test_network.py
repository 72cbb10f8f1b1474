"""Promise: a command uses the network only where the user asks for it."""

import re
import shutil
from pathlib import Path

import pytest

from tests.trust.conftest import Run

SMALL = ("--dataset", "sample", "--ranks", 3, "--limit", 20, "--out", "out")


COMMANDS = (
    ("pipeline.build", "--help"),
    ("pipeline.build", *SMALL, "--dry-run"),
    ("pipeline.build", *SMALL, "--workers", 0),
    ("pipeline.verify", "out"),
    ("pipeline.report", "out"),
    ("pipeline.export", "out", "--variant", "rank3", "--to", "arrays"),
)
# Runs them in one process, each as ``python -m`` does.
SCRIPT = """
import runpy, sys

def run(*command):
    sys.argv = [*command]
    try:
        runpy.run_module(command[0], run_name="__main__")
    except SystemExit as end:
        assert not end.code, (command, end.code)

if __name__ == "__main__":  # processes of verify import this module again
    for command in {commands!r}:
        run(*command)
"""


def test_commands_ask_for_no_address_beyond_this_machine(run: Run, folder: Path) -> None:
    (folder / "commands.py").write_text(SCRIPT.format(commands=[[*map(str, command)] for command in COMMANDS]))
    ran = run("commands")
    assert (ran.status, ran.addresses) == (0, []), ran


def test_the_log_of_addresses_works(run: Run, folder: Path) -> None:
    (folder / "calls.py").write_text(
        "import socket\ntry:\n    socket.create_connection(('192.0.2.1', 9), 0.01)\nexcept OSError:\n    pass\n"
    )
    assert any("192.0.2.1" in line for line in run("calls").addresses)


@pytest.mark.ray
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_ray_s_processes_connect_to_this_machine_alone_and_none_is_for_statistics(run: Run, folder: Path) -> None:
    """Traces system calls, since most of Ray is not Python."""
    trace = folder / "trace"
    through = (
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=connect,bind,sendto,execve",
        "-s",
        "400",
        "-e",
        "signal=none",
        "-o",
        str(trace),
    )
    ran = run("pipeline.build", *SMALL, "--workers", 1, through=through)
    assert (ran.status, ran.addresses) == (0, []), ran
    calls = re.findall(
        r'^\d+ +(connect|bind|sendto).*inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"', trace.read_text(), re.M
    )
    assert {call for call, _ in calls} >= {"connect", "bind"}
    outside = {place for _, place in calls if not place.removeprefix("::ffff:").startswith("127.") and place != "::1"}
    assert outside == set()
    started = [line for line in trace.read_text().splitlines() if "execve(" in line]
    assert any("raylet/raylet" in line for line in started)
    assert not any("dashboard/dashboard.py" in line for line in started), "it asks clouds and reports statistics"
    assert not list(folder.parent.rglob("session_2*"))  # the files of Ray are removed
