"""Reports shards that make no progress: which worker waits, in which stage, at which image. It never ends a worker."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.errors import one_line
from pipeline.execution.ray.heartbeat import Beat, beat
from pipeline.liveness import Reminder, Say, duration, listed, repeating
from pipeline.planning.shard_task import Progress

SILENT = 10.0  # seconds without a heartbeat (five missed), after which a worker counts as silent
_LOOKS = 5.0  # the most seconds between two looks


class Heartbeats(Protocol):
    """The heartbeats of workers in other processes."""

    def read(self, shards: list[str]) -> Mapping[str, Beat]:
        """Returns the last heartbeat of each shard that has one."""
        ...

    def room(self) -> str:
        """Returns what a shard needs and how much of that is free, in words."""
        ...


@dataclass
class _Shard:
    """A shard in work.

    Attributes:
        reminder: when to report that it makes no progress.
        progress: its progress if it is built in this process.
        last: its last heartbeat.
        heard: when that came, in monotonic time.
    """

    reminder: Reminder
    progress: Progress | None = None
    last: Beat | None = None
    heard: float = 0.0

    def hear(self, heartbeat: Beat | None, now: float) -> None:
        if heartbeat is not None and heartbeat != self.last:
            self.last, self.heard = heartbeat, now

    def still(self, now: float) -> float:
        """Returns the seconds since the last progress, as far as the heartbeats say."""
        return self.last.seconds + (now - self.heard) * self.silent(now) if self.last else 0.0

    def silent(self, now: float) -> bool:
        return now - self.heard >= SILENT


class Watch:
    """Watches all shards in work. Use ``over`` around the work.

    Args:
        stall: seconds without progress until the first report; 0 for no reports.
        say: reports the events ``stalled``, ``waiting`` and ``moving``; also called from a thread.
    """

    def __init__(self, stall: float, say: Say) -> None:
        self._stall, self._say = stall, say
        self._shards: dict[str, _Shard] = {}
        self._lock = threading.Lock()
        self._idle, self._idle_since = Reminder(stall), time.monotonic()  # while no worker has begun a shard

    def started(self, shard: str, progress: Progress | None = None) -> None:
        """A shard was handed out; or this process works on it, with this progress. Calls may repeat."""
        with self._lock:
            if progress and shard in self._shards and self._shards[shard].progress is progress:
                return
            if not self._shards:
                self._idle_since = time.monotonic()
            self._shards[shard] = _Shard(Reminder(self._stall), progress)

    def ended(self, shard: str, built: bool = True) -> None:
        """A shard is built; or the try failed, which others report."""
        with self._lock:
            state = self._shards.pop(shard, None)
            self._idle_since = time.monotonic()
        if state and state.reminder.reported and built:
            self._report_moving([shard])

    @contextlib.contextmanager
    def over(self, heartbeats: Heartbeats | None = None) -> Iterator[None]:
        """Looks at the shards again and again, from a thread, while the block runs."""
        with repeating(lambda: self.look(heartbeats, time.monotonic()), self._stall, _LOOKS):
            yield

    def look(self, heartbeats: Heartbeats | None, now: float) -> None:
        """Compares the heartbeats with the earlier ones, and reports what changed. ``now`` is monotonic time."""
        with self._lock:
            remote = [name for name, shard in self._shards.items() if not shard.progress]
        beats = heartbeats.read(remote) if heartbeats and remote else {}
        with self._lock:
            for name, shard in self._shards.items():
                shard.hear(beat(shard.progress, now) if shard.progress else beats.get(name), now)
            moving = [name for name, shard in self._shards.items() if shard.reminder.reported > shard.still(now)]
            for name in moving:
                self._shards[name].reminder.reset()
            stalled = {name: shard for name, shard in self._shards.items() if shard.reminder.due(shard.still(now))}
            begun = not self._shards or any(shard.last for shard in self._shards.values())
            idle_ended = begun and bool(self._idle.reported)
            if begun:
                self._idle_since = now
                self._idle.reset()
            idle, shards = now - self._idle_since, len(self._shards)
            waiting = self._idle.due(idle)
        if moving:
            self._report_moving(moving)
        elif idle_ended:
            self._say("moving", "continues: a worker has begun", shards=[])
        if stalled:
            self._report_stalled(stalled, now)
        if waiting:
            room = f"; {heartbeats.room()}" if heartbeats else ""
            line = f"no worker has begun any of {shards} shards for {duration(idle)}{room}"
            self._say("waiting", line, seconds=round(idle, 1))

    def _report_moving(self, shards: list[str]) -> None:
        self._say("moving", f"continues: shard {listed(shards)}", shards=shards)

    def _report_stalled(self, shards: dict[str, _Shard], now: float) -> None:
        fields = [
            {
                "shard": name,
                **{key: getattr(shard.last, key) for key in ("stage", "entry", "node", "pid")},
                "seconds": round(shard.still(now), 1),
                "silent": shard.silent(now),
            }
            for name, shard in shards.items()
        ]
        self._say("stalled", f"no progress: shard {listed([_described(shard) for shard in fields])}", shards=fields)


def _described(shard: dict[str, Any]) -> str:
    """Returns a stalled shard in words, as in ``train-000000: read of a/00.png for 2 min 00 s (process 5 on node7)``."""
    step = shard["stage"] + (f" of {shard['entry']}" if shard["entry"] else "")
    silent = ", which sends no heartbeat: the process or its machine is stopped or cut off" if shard["silent"] else ""
    where = f"process {shard['pid']} on {shard['node']}{silent}"
    return one_line(f"{shard['shard']}: {step} for {duration(shard['seconds'])} ({where})")
