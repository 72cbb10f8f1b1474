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

from pipeline.liveness import Reminder, Say, duration, listed, repeating

EVERY = 2.0  # seconds between two messages of a worker
SILENT = 10.0  # seconds without a message after which a worker counts as stopped: five messages are missing


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
        process: its identifier.
        reminder: when to report that the part is still in work.
    """

    begun: float
    process: int
    heard: float
    reminder: Reminder


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
        self._idle, self._idle_since = Reminder(self._stall), time.monotonic()  # while no part is in work

    def begun(self, place: int, process: int, since: float, now: float) -> None:
        """Notes that a process has a part in work; called when it begins, and with every message."""
        with self._lock:
            if place not in self._done:
                part = self._work.setdefault(place, _Part(since, process, now, Reminder(self._stall)))
                part.begun, part.process, part.heard = since, process, now

    def ended(self, place: int) -> None:
        """Notes that a part is done."""
        with self._lock:
            part = self._work.pop(place, None)
            self._done.add(place)
            self._left -= 1
            self._idle_since = time.monotonic()
        if part and part.reminder.reported:
            self._say("moving", f"continues: {self._names[place]}")

    @contextlib.contextmanager
    def running(self, messages: Connection | None = None) -> Iterator[None]:
        """Reports from a thread, for as long as the block lasts. ``messages``: from the workers."""

        def look() -> None:
            while messages is not None and messages.poll():
                place, process, since = json.loads(messages.recv_bytes())
                self.begun(place, process, since, time.monotonic())
            self.look(time.monotonic())

        with repeating(look, self._stall, EVERY):
            yield

    def look(self, now: float) -> None:
        """Reports what is due at ``now``, monotonic seconds."""
        with self._lock:
            lines = [
                self._described(place, part, now)
                for place, part in sorted(self._work.items())
                if part.reminder.due(now - part.begun)
            ]
            if self._work:
                self._idle_since = now
                self._idle.reset()
            waited = now - self._idle_since
            waiting = self._left > 0 and self._idle.due(waited)
        if lines:
            self._say("stalled", f"still in work: {listed(lines)}")
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
