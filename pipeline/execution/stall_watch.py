"""Notices shards in which nothing moves, and says who waits for what. It never ends anything."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.errors import PipelineError, one_line
from pipeline.execution.ray.heartbeat import Beat, beat
from pipeline.liveness import Say, beside, duration
from pipeline.liveness import lasting as lasting
from pipeline.planning.shard_task import Progress

SILENT = 10.0  # seconds after which a worker that says nothing is one that cannot: five words missed
_LOOKS = 5.0  # the most seconds between two looks
_SHOWN = 3  # shards of a line


class Words(Protocol):
    """What workers elsewhere say: the last word on each shard that has one; and what is free for those that wait."""

    def read(self, shards: list[str]) -> Mapping[str, Beat]: ...
    def room(self) -> str: ...


@dataclass
class _Shard:
    """A shard in work.

    Attributes:
        speak: seconds without a movement after which to speak.
        here: its progress, where it is in work in this process.
        last, heard: the last word on it, and when that came.
        told: after how many seconds without a movement its stillness was told; 0 where it was not.
    """

    speak: float
    here: Progress | None = None
    last: Beat | None = None
    heard: float = 0.0
    told: float = 0.0

    def hear(self, said: Beat | None, now: float) -> None:
        if said is not None and said != self.last:
            self.last, self.heard = said, now

    def still(self, now: float) -> float:
        """Seconds since something moved, as far as is known."""
        return self.last.seconds + (now - self.heard) * self.silent(now) if self.last else 0.0

    def silent(self, now: float) -> bool:
        return now - self.heard >= SILENT


class Watch:
    """Of all shards in work. Use ``over`` around the work.

    Args:
        stall: seconds without a movement after which to speak; again after twice as many, and so on. 0 for never.
        say: called with the event (``stalled``, ``waiting`` or ``moving``), a line for people, and fields for machines;
            also from a thread.
    """

    def __init__(self, stall: float, say: Say) -> None:
        self._stall, self._say = stall, say
        self._shards: dict[str, _Shard] = {}
        self._lock = threading.Lock()
        self._nobody, self._speak = time.monotonic(), stall  # since when, and after which time to tell it

    def given(self, shard: str, here: Progress | None = None) -> None:
        """A shard is handed out; or it is in work in this process, with its progress, which may be said again."""
        with self._lock:
            if here and shard in self._shards and self._shards[shard].here is here:
                return
            if not self._shards:
                self._nobody = time.monotonic()
            self._shards[shard] = _Shard(self._stall, here)

    def ended(self, shard: str, built: bool = True) -> None:
        """A shard is built; or its worker has failed, which others tell."""
        with self._lock:
            known = self._shards.pop(shard, None)  # of a try that failed at once there is none
            self._nobody = time.monotonic()
        if known and known.told and built:
            self._moving([shard])

    @contextlib.contextmanager
    def over(self, words: Words | None = None) -> Iterator[None]:
        """Look again and again, from a thread, for as long as the block lasts."""
        if not self._stall:
            yield
            return

        def watch(stop: threading.Event) -> None:
            while not stop.wait(min(self._stall / 8, _LOOKS)):
                with contextlib.suppress(PipelineError):  # a log that cannot be written ends the build elsewhere
                    self.look(words, time.monotonic())

        with beside(watch):
            yield

    def look(self, words: Words | None, now: float) -> None:
        """Compare what is said at a moment of the monotonic clock with what was known, and tell what is worth it."""
        with self._lock:
            elsewhere = [name for name, shard in self._shards.items() if not shard.here]
        said = words.read(elsewhere) if words and elsewhere else {}
        with self._lock:
            for name, shard in self._shards.items():
                shard.hear(beat(shard.here, now) if shard.here else said.get(name), now)
            moving = [name for name, shard in self._shards.items() if shard.told > shard.still(now)]
            for name in moving:
                self._shards[name].told, self._shards[name].speak = 0.0, self._stall
            stalled = {name: shard for name, shard in self._shards.items() if shard.still(now) >= shard.speak}
            for shard in stalled.values():
                shard.told = shard.still(now)
                shard.speak = 2 * shard.told
            begun = not self._shards or any(shard.last for shard in self._shards.values())
            came = begun and self._speak > self._stall  # after its absence was told
            if begun:
                self._nobody, self._speak = now, self._stall
            waited, count = now - self._nobody, len(self._shards)
            if waiting := waited >= self._speak:
                self._speak *= 2
        if moving:
            self._moving(moving)
        elif came:
            self._say("moving", "goes on: a worker has begun", shards=[])
        if stalled:
            self._stalled(stalled, now)
        if waiting:
            room = f"; {words.room()}" if words else ""
            line = f"no worker has begun any of {count} shards for {duration(waited)}{room}"
            self._say("waiting", line, seconds=round(waited, 1))

    def _moving(self, shards: list[str]) -> None:
        self._say("moving", f"goes on: shard {_listed(shards)}", shards=shards)

    def _stalled(self, shards: dict[str, _Shard], now: float) -> None:
        fields = [
            {
                "shard": name,
                **{key: getattr(shard.last, key) for key in ("stage", "entry", "node", "pid")},
                "seconds": round(shard.still(now), 1),
                "silent": shard.silent(now),
            }
            for name, shard in shards.items()
        ]
        line = f"no progress: shard {_listed([_described(one) for one in fields])}"
        self._say("stalled", line, shards=fields)


def _listed(texts: list[str]) -> str:
    more = len(texts) - _SHOWN
    return "; ".join(texts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _described(one: dict[str, Any]) -> str:
    """Who waits for what, as in ``train-000000: read of a/00.png for 2 min 00 s (process 5 on node7)``."""
    step = one["stage"] + (f" of {one['entry']}" if one["entry"] else "")
    silent = ", which says nothing any more: it or its machine is stopped, or cut off" if one["silent"] else ""
    text = f"{one['shard']}: {step} for {duration(one['seconds'])} (process {one['pid']} on {one['node']}{silent})"
    return one_line(text)
