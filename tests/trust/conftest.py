"""Runs commands as a user does. The user's name, folders and secrets are marked words that the tests search for."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRET = "canarysecret"
NAME = "canaryname"
_SECRETS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "HF_TOKEN", "WANDB_API_KEY"),
    *("GOOGLE_API_KEY", "SSH_AUTH_SOCK", "CANARY"),
)

# Logs every address outside this machine that a Python process connects to or looks up.
_HOOK = """
import os, sys

def note(event, arguments):
    if event == "socket.getaddrinfo":
        place = arguments[0]
    elif event in ("socket.connect", "socket.sendto", "socket.gethostbyname"):
        place = arguments[1] if event != "socket.gethostbyname" else arguments[0]
        if isinstance(place, tuple):
            place = place[0]
        else:
            return
    else:
        return
    if place not in (None, "", "localhost", "::1", b"localhost") and not str(place).startswith("127."):
        with open({log!r}, "a") as file:
            file.write(f"{{event}} {{place}} {{sys.argv}}\\n")

sys.addaudithook(note)
"""


class Ran(NamedTuple):
    """The result of a command: its exit status, its output, and the addresses outside this machine that it asked for."""

    status: int
    output: str
    addresses: list[str]


Run = Callable[..., Ran]


@pytest.fixture
def folder() -> Iterator[Path]:
    """The user's working folder. Its name is marked, and its path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as place:
        (Path(place) / NAME).mkdir()
        yield Path(place) / NAME


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs ``python -m COMMAND`` in the user's folder."""
    (folder.parent / "hook").mkdir()
    log = folder.parent / "addresses"
    (folder.parent / "hook" / "sitecustomize.py").write_text(_HOOK.format(log=str(log)))
    (folder / "home").mkdir()
    marked = {"HOME": str(folder / "home"), "USER": NAME, "LOGNAME": NAME, "PWD": str(folder)}
    environment = os.environ | dict.fromkeys(_SECRETS, SECRET) | marked
    environment |= {"PYTHONPATH": os.pathsep.join([str(folder.parent / "hook"), str(ROOT)])}
    environment |= {"RAY_TMPDIR": str(folder.parent)}

    def start(*command: object, through: tuple[str, ...] = ()) -> Ran:
        name, *arguments = map(str, command)
        process = subprocess.run(
            [*through, sys.executable, "-m", name, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        addresses = log.read_text().splitlines() if log.exists() else []
        return Ran(process.returncode, process.stdout.decode(), addresses)

    return start
