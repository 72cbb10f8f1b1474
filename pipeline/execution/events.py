"""``--log-json``: what a build does, one JSON object to a line, for machines."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import PipelineError
from pipeline.execution.pace import Pace
from pipeline.planning.shard_task import Progress, ShardTask
from pipeline.storage.location import Location
from pipeline.storage.user_files import check, check_outside

STDERR = "-"
_FIRST = b'{"event": "'


class Events:
    """Writes events to a file that it appends to, or to stderr.

    Args:
        target: ``-`` for stderr, a file, or None for nowhere.
        out: of the build; the file must lie elsewhere.

    Raises:
        UsageError: the file holds something else than events, or lies inside the output.
        PipelineError: the file cannot be written.
    """

    def __init__(self, target: str | None, out: Location) -> None:
        self._target = target
        if target not in (None, STDERR):
            check_outside("--log-json", Path(target), out)
            check("--log-json", Path(target), _FIRST, "holds no events", empty=True)
            self._append("")

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event with the time (UTC). Raises PipelineError as the constructor."""
        if self._target is None:
            return
        line = json.dumps({"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields})
        if self._target == STDERR:
            console.write(line)
        else:
            self._append(f"{line}\n")

    def say(self, event: str, message: str, **fields: Any) -> None:
        """Tell people as well. Raises PipelineError as the constructor."""
        console.tell(message)
        self.emit(event, message=message, **fields)

    def shard(self, task: ShardTask, progress: Progress, pace: Pace, elapsed: float) -> None:
        """A shard is committed, after ``elapsed`` seconds of the build."""
        left = pace.left(elapsed)
        self.emit(
            "shard",
            shard=task.shard.name,
            images=progress.images,
            rejects=len(progress.rejects),
            seconds=rounded(progress.seconds),
            images_done=pace.images_done,
            shards_done=pace.shards_done,
            images_per_second=round(pace.rate(elapsed), 1),
            seconds_left=None if left is None else round(left, 1),
            bounds=pace.bounds(),
        )

    def _append(self, text: str) -> None:
        assert self._target is not None
        try:
            with Path(self._target).open("a", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            raise PipelineError(f"--log-json {self._target}: {error.strerror}") from None


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    """To milliseconds."""
    return {stage: round(value, 3) for stage, value in seconds.items()}
