"""Who owns an output: one run at a time. On a file system, a run that lost the output publishes nothing.

The protocol is the same on a file system and in object storage:

1. A run reads the last claim. If its owner may be alive, the run watches the heartbeat: it gives up as soon as the claim
   changes, and continues after some beats of silence. Clocks are never compared.
2. It takes the output over by replacing exactly the claim that it has read. Of several runs that try, one succeeds.
3. It writes its claim again with every heartbeat, and releases it at the end.
4. Before each publish, a process checks that the last claim is that of its run. A run whose claim was replaced never gets
   it back. A worker whose driver was killed can publish until another run replaces the claim.

On a file system with kernel locks, no take-over happens between the check and the publish. A server of object storage cannot
ensure this (docs/faults.md, "Remaining risk").

A back end (``Claims``) stores the claims: ``file_claims.py`` for file systems, ``object_claims.py`` for object storage.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from pipeline.console import tell
from pipeline.errors import PipelineError

HEARTBEAT = 5.0  # seconds
QUIET = 2.0  # seconds of waiting after which the user reads the reason


class LostLock(Exception):
    """The run that wanted to publish does not own the output any more."""


class Taken(Exception):
    """Another run owns the output, or has just taken it over."""


class Claim(NamedTuple):
    """A claim on an output.

    Attributes:
        fields: ``run``, ``host``, ``pid``, ``time``, ``beats`` and ``released``, as the owner wrote them. Empty if there is
            no claim or it is damaged. Nothing about the values is certain.
        number: of the claim, where the back end counts claims.
    """

    fields: Mapping[str, Any] = {}
    number: int = 0

    @classmethod
    def parse(cls, content: bytes, number: int = 0) -> "Claim":
        """Returns the claim that a file or an object holds. A damaged one is nobody's."""
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError):
            fields = {}
        return cls(fields if isinstance(fields, dict) else {}, number)

    def to_json(self) -> bytes:
        return json.dumps(self.fields).encode()

    @property
    def is_free(self) -> bool:
        """Whether there is no claim, or its owner has released it."""
        return self == Claim() or bool(self.fields.get("released"))

    def is_owned_by(self, run: str) -> bool:
        return self.fields.get("run") == run and not self.fields.get("released")

    def __str__(self) -> str:
        seen = f", seen at {self.fields['time']}" if "time" in self.fields else ""
        return f"process {self.fields.get('pid', '?')} on {self.fields.get('host', '?')}{seen}"


class Claims(Protocol):
    """Stores the claims on one output. Calls raise OSError as the storage does."""

    def alive(self) -> AbstractContextManager[None]:
        """Marks this process as alive, if the storage can do that. Raises Taken: another living process is marked."""

    def last(self) -> Claim:
        """Returns the last claim; an empty one if the output was never claimed."""

    def silent_beats(self, claim: Claim) -> int:
        """Returns after how many missing heartbeats the owner of ``claim`` counts as dead; 0: it is dead for certain."""

    def take_over(self, before: Claim, claim: Claim) -> Claim:
        """Replaces the claim ``before`` and returns ``claim`` with its number. Raises Taken: ``before`` is not the last."""

    def write(self, claim: Claim) -> None:
        """Replaces the caller's own claim."""

    def release(self, claim: Claim) -> None:
        """Gives up the caller's own claim."""

    def publishing(self) -> AbstractContextManager[None]:
        """Keeps other runs from taking the output over meanwhile, if the storage can do that."""


@contextlib.contextmanager
def publishing(claims: Claims, run: str) -> Iterator[None]:
    """Surrounds every publish of a run.

    Raises:
        LostLock: ``run`` does not own the output.
    """
    with claims.publishing():
        if not claims.last().is_owned_by(run):
            raise LostLock(f"run {run} does not own the output any more")
        yield


class BuildLock:
    """The ownership of one output by one run, as a context manager.

    Args:
        claims: where the claims are stored.
        run: identity of this run.

    Raises:
        PipelineError: another run owns the output.
    """

    def __init__(self, claims: Claims, run: str) -> None:
        self._claims, self._run = claims, run
        self._claim = Claim()
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> "BuildLock":
        with ExitStack() as stack:
            try:
                stack.enter_context(self._claims.alive())
                before = self._wait_for_silence(self._claims.last())
                stack.callback(self._release)
                self._claim = self._claims.take_over(before, self._next_claim())
            except Taken:
                owner = self._claims.last()
                raise PipelineError(f"another run is building this output ({owner}); wait for it or stop it") from None
            self._heart.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._heart.join()
        self._stack.close()

    def _wait_for_silence(self, before: Claim) -> Claim:
        """Waits until the owner of the output counts as dead, and returns the claim to replace.

        Raises:
            Taken: the owner is alive, or another run has taken the output over.
        """
        start, quiet = time.monotonic(), True
        patience = 0 if before.is_free else self._claims.silent_beats(before) * HEARTBEAT
        while time.monotonic() < start + patience:
            if quiet and time.monotonic() > start + QUIET:
                tell(f"another run was building this output ({before}); waiting {patience:.0f} s for a sign of life")
                quiet = False
            time.sleep(HEARTBEAT / 5)
            now = self._claims.last()
            if now.is_free and now.number == before.number:
                return now
            if now != before:
                raise Taken
        return before

    def _next_claim(self) -> Claim:
        fields = {
            "run": self._run,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "beats": self._claim.fields.get("beats", 0) + 1,
            "released": False,
        }
        return Claim(fields, self._claim.number)

    def _keep_beating(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            try:
                with publishing(self._claims, self._run):
                    self._claim = self._next_claim()
                    self._claims.write(self._claim)
            except LostLock:
                return
            except (OSError, PipelineError):
                continue  # the next one may succeed: a disk may be full for a moment, or a server slow

    def _release(self) -> None:
        with contextlib.suppress(OSError, PipelineError):
            claim = self._claims.last()
            if claim.is_owned_by(self._run):
                self._claims.release(claim)
