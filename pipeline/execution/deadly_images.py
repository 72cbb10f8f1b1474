"""Finds deadly images: those that kill the process that decodes or cuts them. It tries parts of a shard in other processes.

``python -m pipeline.execution.deadly_images`` is a server of such processes. It reads a pickled task, then the bounds of a
part per line. It tries each part in a fork of itself, which takes milliseconds, and answers with the fork's exit status.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NoReturn

from pipeline.errors import PipelineError
from pipeline.execution import child_process
from pipeline.planning.shard_task import Progress, ShardTask, Step
from pipeline.sources.objects.source import DatasetObject

MOST = 8  # deadly images of a shard; if there are more, the cause is probably not in the images
_NO_MEMORY = 70  # exit status of a child that ran out of memory


def find(task: ShardTask, progress: Progress) -> dict[int, str]:
    """Returns the deadly entries of a shard: their index and the reason. Writes nothing.

    Of a dataset object there are none: no other process can read it.

    The search is a bisection with about 2 log2(n) trials per deadly entry. An entry is deadly if a process survives an
    empty part, and two die of this entry.

    Args:
        progress: is updated with the part that is tried.

    Raises:
        PipelineError: there are more than ``MOST``.
    """
    deadly: dict[int, str] = {}
    if isinstance(task.source, DatasetObject):
        return deadly
    parts = [(0, len(task.entries))]
    with _Child(task) as child:
        while parts:
            start, stop = parts.pop()
            more = f" and {stop - start - 1} more" * (stop - start > 1)
            progress.now = Step("trial", f"{task.entries[start].name}{more}", time.monotonic())
            if child.survives(start, stop):
                continue
            if stop - start > 1:
                middle = (start + stop) // 2
                parts += [(middle, stop), (start, middle)]
            elif child.survives(0, 0) and not child.survives(start, stop):
                deadly[task.entries[start].index] = f"kills its worker ({child.died})"
            if len(task.deadly) + len(deadly) > MOST:
                raise PipelineError(
                    f"shard {task.shard.name}: more than {MOST} of its images kill their worker, "
                    f"{task.entries[start].name} among them; the cause is probably not in the images"
                )
    return deadly


class _Child:
    """A child process, the server that tries parts of a shard. It is replaced if it dies. Use as a context manager.

    Attributes:
        died: why the last fork died, as in ``SIGSEGV``.
    """

    def __init__(self, task: ShardTask) -> None:
        self._task, self.died = pickle.dumps(task), ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def survives(self, start: int, stop: int) -> bool:
        """Returns whether a process survives the entries from ``start`` to ``stop`` (not included)."""
        fresh = self._process is None
        process = self._process = self._process or _started()
        try:
            assert process.stdin and process.stdout
            if fresh:
                process.stdin.write(self._task)
            process.stdin.write(f"{start} {stop}\n".encode())
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if answer:
            status = int(answer)
        else:  # the server itself died, for example because the kernel chose it when memory was short
            status = process.wait()
            self._end()
        if status:
            self.died = "out of memory" if status == _NO_MEMORY else _name(status)
        return bool(answer) and status == 0

    def _end(self) -> None:
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with the fork that it waits for
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None


def _name(status: int) -> str:
    """Returns an exit status in words, as in ``SIGSEGV`` or ``exit status 7``."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _started() -> "subprocess.Popen[bytes]":
    return child_process.start(
        "pipeline.execution.deadly_images",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # a terminal's Ctrl-C goes to the driver only, which ends this child
    )


def main() -> None:
    """Tries parts, each in a fork, until the input ends. Writes the exit status of each fork."""
    import resource

    from pipeline.execution import compiled_loops, stages
    from pipeline.numerics import runtime

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel ends this process first when memory is short
    answers = os.dup(1)
    os.dup2(2, 1)
    runtime.prepare()
    task: ShardTask = pickle.load(sys.stdin.buffer)
    compiled_loops.load(compiled_loops.sides_of(task), quiet=True)  # once, not in each fork
    for line in sys.stdin.buffer:
        start, stop = map(int, line.split())
        pid = os.fork()
        if pid == 0:
            _try(replace(task, entries=task.entries[start:stop]), stages)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(answers, f"{status}\n".encode())


def _try(part: ShardTask, stages: ModuleType) -> NoReturn:
    """Encodes a part of a shard, and ends this process."""
    try:
        for _ in stages.encode_batches(part, tuple(part.tars), Progress()):
            pass
    except MemoryError:
        os._exit(_NO_MEMORY)
    except Exception:  # the build itself reports other errors
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
