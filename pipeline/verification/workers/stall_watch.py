"""Reports parts that take long, and the process that verifies them. It never ends a process.

Workers write to a pipe what they have begun, and again every two seconds. A write is so short that it needs no lock, so a
stopped worker blocks no other.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

from pipeline.liveness import Say, beside, duration

EVERY = 2.0  # seconds between two messages of a worker
SILENT = 10.0  # seconds without a message after which a worker counts as stopped: five messages are missing
_NAMED = 3  # parts in one line


class Alarm(NamedTuple):
    """After how many seconds to report (0 for never), and the function that reports, as ``lasting`` takes it."""

    stall: float
    say: Say


SILENCE = Alarm(0, lambda event, message, **_: None)


@dataclass
class _Part:
    """A part in work.

    Attributes:
        begun, heard: when it began, and when its process sent the last message; monotonic seconds.
        due: seconds after its beginning at which it is reported next.
        reported: whether it was reported at all.
    """

    begun: float
    process: int
    heard: float
    due: float
    reported: bool = False


class StallWatch:
    """Watches the parts of an output while they are verified.

    Args:
        names: how messages call the parts.
    """

    def __init__(self, alarm: Alarm, names: Sequence[str]) -> None:
        self._stall, self._say = alarm
        self._names, self._left = names, len(names)
        self._work: dict[int, _Part] = {}
        self._done: set[int] = set()
        self._lock = threading.Lock()
        self._idle, self._due = time.monotonic(), self._stall  # since when no part is in work; when to report that

    def begun(self, place: int, process: int, since: float, now: float) -> None:
        """Notes that a process has a part in work; called when it begins, and with every message."""
        with self._lock:
            if place not in self._done:
                part = self._work.setdefault(place, _Part(since, process, now, self._stall))
                part.begun, part.process, part.heard = since, process, now

    def ended(self, place: int) -> None:
        """Notes that a part is done."""
        with self._lock:
            part = self._work.pop(place, None)
            self._done.add(place)
            self._left -= 1
            self._idle = time.monotonic()
        if part and part.reported:
            self._say("moving", f"continues: {self._names[place]}")

    @contextlib.contextmanager
    def running(self, messages: Connection | None = None) -> Iterator[None]:
        """Reports from a thread, for as long as the block lasts. ``messages``: from the workers."""
        if not self._stall:
            yield
            return

        def watch(stop: threading.Event) -> None:
            while not stop.wait(min(self._stall / 8, EVERY)):
                while messages is not None and messages.poll():
                    place, process, since = json.loads(messages.recv_bytes())
                    self.begun(place, process, since, time.monotonic())
                self.look(time.monotonic())

        with beside(watch):
            yield

    def look(self, now: float) -> None:
        """Reports what is due at ``now``, monotonic seconds."""
        lines = []
        with self._lock:
            for place, part in sorted(self._work.items()):
                if now - part.begun >= part.due:
                    part.reported, part.due = True, 2 * (now - part.begun)
                    lines.append(self._described(place, part, now))
            if self._work:
                self._idle, self._due = now, self._stall
            waited = now - self._idle
            if waiting := self._left > 0 and waited >= self._due:
                self._due *= 2
        if lines:
            more = f"; and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
            self._say("stalled", f"still in work: {'; '.join(lines[:_NAMED])}{more}")
        if waiting:
            self._say("waiting", f"no process has begun any of {self._left} parts for {duration(waited)}")

    def _described(self, place: int, part: _Part, now: float) -> str:
        silent = now - part.heard >= SILENT and part.process != os.getpid()
        hint = ", which sends no messages any more: it is stopped, or cut off" if silent else ""
        return f"{self._names[place]} for {duration(now - part.begun)} (process {part.process}{hint})"


class Reporter:
    """Sends messages about the part that this worker has in work."""

    def __init__(self, messages: Connection) -> None:
        self._messages, self._wake = messages, threading.Event()
        self._now: tuple[int, int, float] | None = None
        threading.Thread(target=self._send, daemon=True).start()

    @contextlib.contextmanager
    def working_on(self, place: int) -> Iterator[None]:
        """Reports a part as in work for as long as the block lasts."""
        self._now = place, os.getpid(), time.monotonic()
        self._wake.set()
        try:
            yield
        finally:
            self._now = None

    def _send(self) -> None:
        while True:
            self._wake.wait(EVERY)
            self._wake.clear()
            if (now := self._now) is not None:
                try:
                    self._messages.send_bytes(json.dumps(now).encode())
                except OSError:
                    return  # the command has ended
