"""Who owns an output in object storage: the run of the last claim, as long as its heart beats.

Claims are objects ``.build/lock/NNNNNN``. A run owns the output when it has created the next number, which a server that
knows If-None-Match lets only one do; others get a second look. Its owner alone writes a claim again, with a heartbeat,
and at the end that it is released. Whoever finds a higher number than its own has lost the output for good.
"""

import contextlib
import json
import os
import socket
import threading
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pipeline.console import tell
from pipeline.errors import PipelineError
from pipeline.storage.bucket import Bucket
from pipeline.storage.lock import LostLock

FOLDER = ".build/lock"
HEARTBEAT = 5.0  # seconds
PATIENCE = 30.0  # seconds without a heartbeat after which an owner counts as dead
_SILENCE = 2.0  # seconds of waiting before the user is told what for
_SECOND_LOOK = 2.0  # seconds, where the server lets two runs create one object


class Claim(NamedTuple):
    """A claim: its number (0: nobody's), and who made it."""

    number: int
    owner: dict[str, Any]

    def __str__(self) -> str:
        who = f"process {self.owner.get('pid', '?')} on {self.owner.get('host', '?')}"
        return f"{who}, seen at {self.owner.get('time', '?')}"


class ObjectLock:
    """The ownership of one output. Use as a context manager.

    Raises:
        PipelineError: another run owns it.
    """

    def __init__(self, bucket: Bucket, run: str) -> None:
        self._bucket, self._run, self._beats, self._number = bucket, run, 0, 0
        self._stop = threading.Event()

    def __enter__(self) -> "ObjectLock":
        before = last_claim(self._bucket)
        self._wait_for_death(before)
        self._number = before.number + 1
        try:
            self._bucket.create(_name(self._number), self._content())
        except FileExistsError:
            self._refuse(last_claim(self._bucket))
        try:
            self._look_again()
        except BaseException:
            self._release()
            raise
        with contextlib.suppress(OSError):
            self._bucket.delete([_name(before.number)] if before.number else [])
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._release()

    def _release(self) -> None:
        with contextlib.suppress(OSError, LostLock):
            self._write(released=True)

    def _wait_for_death(self, before: Claim) -> None:
        """Nobody's clock is asked: an owner lives while its beats go on."""
        if not before.number or before.owner.get("released"):
            return
        start, told = time.monotonic(), False
        while time.monotonic() < start + PATIENCE:
            time.sleep(HEARTBEAT / 5)
            if not told and time.monotonic() > start + _SILENCE:
                tell(f"another run was building this output ({before}); waiting {PATIENCE:.0f} s for a sign of life")
                told = True
            now = last_claim(self._bucket)
            if now.owner.get("released") and now.number == before.number:
                return
            if (now.number, now.owner.get("beats")) != (before.number, before.owner.get("beats")):
                self._refuse(now)

    def _refuse(self, claim: Claim) -> None:
        raise PipelineError(f"another run is building this output ({claim}); wait for it or stop it")

    def _look_again(self) -> None:
        """A server that lets the same object be created twice may have let another run do so."""
        try:
            self._bucket.create(_name(self._number), self._content())
        except FileExistsError:
            return
        time.sleep(_SECOND_LOOK)
        claim = last_claim(self._bucket)
        if claim.owner.get("run") != self._run:
            self._refuse(claim)

    def _content(self, released: bool = False) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        owner = {"run": self._run, "host": socket.gethostname(), "pid": os.getpid(), "time": now, "beats": self._beats}
        return json.dumps(owner | {"released": released}).encode()

    def _write(self, released: bool = False) -> None:
        check_owner(self._bucket, self._run)
        self._beats += 1
        self._bucket.write(_name(self._number), self._content(released))

    def _keep_beating(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            try:
                self._write()
            except LostLock:
                return  # what another run has taken over is never taken back
            except OSError:
                continue  # the next one may get through


def check_owner(bucket: Bucket, run: str) -> None:
    """Before every publish. Raises LostLock where ``run`` does not own the output."""
    claim = last_claim(bucket)
    if claim.owner.get("run") != run or claim.owner.get("released"):
        raise LostLock(f"run {run} does not own the output any more")


def last_claim(bucket: Bucket) -> Claim:
    number = max((int(name) for name in bucket.names(FOLDER) if name.isdecimal()), default=0)
    owner: Any = {}
    if number:
        with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):  # replaced between the two requests
            owner = json.loads(bucket.read(_name(number)))
    return Claim(number, owner if isinstance(owner, dict) else {})


def _name(number: int) -> str:
    return f"{FOLDER}/{number:06d}"
