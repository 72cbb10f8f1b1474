"""``--log-json``: the events of a build for other programs, one JSON object per line."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import PipelineError
from pipeline.execution.reporting.progress import Pace
from pipeline.planning.shard_task import Progress, ShardTask
from pipeline.storage.location import Location
from pipeline.storage.user_files import check, check_outside

STDERR = "-"
_FIRST = b'{"event": "'


class Events:
    """Appends events to a file, or writes them to stderr.

    Args:
        target: ``-`` for stderr, the path of a file, or None to write nothing.
        out: the output of the build; the file must be outside it.

    Raises:
        UsageError: the file holds something other than events, or is inside the output.
        PipelineError: the file cannot be written.
    """

    def __init__(self, target: str | None, out: Location) -> None:
        self._target = target
        if target not in (None, STDERR):
            check_outside("--log-json", Path(target), out)
            check("--log-json", Path(target), _FIRST, "holds no events", empty=True)
            self._append("")

    def emit(self, event: str, **fields: Any) -> None:
        """Writes one event with the time in UTC. Raises PipelineError if the file cannot be written."""
        if self._target is None:
            return
        line = json.dumps({"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields})
        if self._target == STDERR:
            console.write(line)
        else:
            self._append(f"{line}\n")

    def say(self, event: str, message: str, **fields: Any) -> None:
        """Writes one event and shows its message on stderr. Raises PipelineError if the file cannot be written."""
        console.tell(message)
        self.emit(event, message=message, **fields)

    def shard(self, task: ShardTask, progress: Progress, pace: Pace, elapsed: float) -> None:
        """Writes that a shard is committed, ``elapsed`` seconds after the workers were ready."""
        left = pace.left(elapsed)
        self.emit(
            "shard",
            shard=task.shard.name,
            node=progress.node,
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
    """Returns seconds by stage, rounded to milliseconds."""
    return {stage: round(value, 3) for stage, value in seconds.items()}
