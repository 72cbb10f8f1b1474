"""Says which parts of a proof are long in work, and in which process. It never ends anything.

Workers tell by a pipe what they have begun, and every two seconds that they can still speak: words so short that no lock
is needed, so that a worker that is stopped stops no other.
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

EVERY = 2.0  # seconds between two words of a worker
SILENT = 10.0  # seconds after which a worker that says nothing is one that cannot: five words missed
_SHOWN = 3  # parts of a line


class Alarm(NamedTuple):
    """After how many seconds to speak (0 for never), and by what, as ``lasting`` takes it."""

    stall: float
    say: Say


SILENCE = Alarm(0, lambda event, message, **_: None)


@dataclass
class _Part:
    """A part in work: since when, in which process, when that spoke last, and after how many seconds to speak next."""

    begun: float
    process: int
    heard: float
    speak: float
    told: bool = False


class Lookout:
    """Over the parts of a proof.

    Args:
        names: of the parts.
    """

    def __init__(self, alarm: Alarm, names: Sequence[str]) -> None:
        self._stall, self._say = alarm
        self._names, self._left = names, len(names)
        self._work: dict[int, _Part] = {}
        self._done: set[int] = set()
        self._lock = threading.Lock()
        self._nobody, self._speak = time.monotonic(), self._stall  # since when, and after which time to tell it

    def begun(self, place: int, process: int, since: float, now: float) -> None:
        """A process has a part in work: said at its beginning, and again and again."""
        with self._lock:
            if place not in self._done:
                part = self._work.setdefault(place, _Part(since, process, now, self._stall))
                part.begun, part.process, part.heard = since, process, now

    def ended(self, place: int) -> None:
        """A part is done."""
        with self._lock:
            part = self._work.pop(place, None)
            self._done.add(place)
            self._left -= 1
            self._nobody = time.monotonic()
        if part and part.told:
            self._say("moving", f"goes on: {self._names[place]}")

    @contextlib.contextmanager
    def over(self, words: Connection | None = None) -> Iterator[None]:
        """Look again and again, from a thread, for as long as the block lasts. ``words``: of the workers."""
        if not self._stall:
            yield
            return

        def watch(stop: threading.Event) -> None:
            while not stop.wait(min(self._stall / 8, EVERY)):
                while words is not None and words.poll():
                    place, process, since = json.loads(words.recv_bytes())
                    self.begun(place, process, since, time.monotonic())
                self.look(time.monotonic())

        with beside(watch):
            yield

    def look(self, now: float) -> None:
        """Tell what is worth it at a moment of the monotonic clock."""
        lines = []
        with self._lock:
            for place, part in sorted(self._work.items()):
                if now - part.begun >= part.speak:
                    part.told, part.speak = True, 2 * (now - part.begun)
                    lines.append(self._described(place, part, now))
            if self._work:
                self._nobody, self._speak = now, self._stall
            waited = now - self._nobody
            if waiting := self._left > 0 and waited >= self._speak:
                self._speak *= 2
        if lines:
            more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
            self._say("stalled", f"still in work: {'; '.join(lines[:_SHOWN])}{more}")
        if waiting:
            self._say("waiting", f"no process has begun any of {self._left} parts for {duration(waited)}")

    def _described(self, place: int, part: _Part, now: float) -> str:
        deaf = now - part.heard >= SILENT and part.process != os.getpid()
        silent = ", which says nothing any more: it is stopped, or cut off" if deaf else ""
        return f"{self._names[place]} for {duration(now - part.begun)} (process {part.process}{silent})"


class Teller:
    """A worker's side."""

    def __init__(self, words: Connection) -> None:
        self._words, self._wake = words, threading.Event()
        self._now: tuple[int, int, float] | None = None
        threading.Thread(target=self._tell, daemon=True).start()

    @contextlib.contextmanager
    def telling(self, place: int) -> Iterator[None]:
        """For as long as the block lasts, a part is in work here."""
        self._now = place, os.getpid(), time.monotonic()
        self._wake.set()
        try:
            yield
        finally:
            self._now = None

    def _tell(self) -> None:
        while True:
            self._wake.wait(EVERY)
            self._wake.clear()
            if (now := self._now) is not None:
                try:
                    self._words.send_bytes(json.dumps(now).encode())
                except OSError:
                    return  # nobody listens any more
