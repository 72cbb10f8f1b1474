"""Commands as a user runs them, in processes whose home, name, folder and secrets are marked so that they can be found."""

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

# Notes every address beyond this machine that Python connects to or looks up, in every process.
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
    """What a command did, and the addresses beyond this machine that it asked for."""

    status: int
    told: str
    addresses: list[str]


Run = Callable[..., Ran]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the user works: its name is marked, and short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as place:
        (Path(place) / NAME).mkdir()
        yield Path(place) / NAME


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs ``python -m pipeline.COMMAND`` in the user's folder."""
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
