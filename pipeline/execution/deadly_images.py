"""Finds deadly images: those that kill the process that decodes or cuts them. It tries parts of a shard in child processes.

``python -m pipeline.execution.deadly_images`` is such a child. It reads a pickled task, then the bounds of a part per line,
and answers with a line for each part that it survives.
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
from types import TracebackType

from pipeline.errors import PipelineError
from pipeline.execution.child_process import python_path
from pipeline.planning.shard_task import Progress, ShardTask, Step

MOST = 8  # deadly images of a shard; if there are more, the cause is probably not in the images
_NO_MEMORY = 70  # exit status of a child that ran out of memory


def find(task: ShardTask, progress: Progress) -> dict[int, str]:
    """Returns the deadly entries of a shard: their index and the reason. Writes nothing.

    The search is a bisection with about 2 log2(n) trials per deadly entry. An entry is deadly if a child that survives an
    empty part dies of this entry twice.

    Args:
        progress: is updated with the part that is tried.

    Raises:
        PipelineError: there are more than ``MOST``.
    """
    deadly: dict[int, str] = {}
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
    """A child process that tries parts of a shard, and is replaced after each death. Use as a context manager.

    Attributes:
        died: why the last child died, as in ``SIGSEGV``.
    """

    def __init__(self, task: ShardTask) -> None:
        self._task, self.died = pickle.dumps(task), ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def survives(self, start: int, stop: int) -> bool:
        """Returns whether a child survives the entries from ``start`` to ``stop`` (not included)."""
        fresh = self._process is None
        process = self._process = self._process or _started()
        try:
            assert process.stdin and process.stdout
            if fresh:
                process.stdin.write(self._task)
            process.stdin.write(f"{start} {stop}\n".encode())
            process.stdin.flush()
            if process.stdout.readline():
                return True
        except BrokenPipeError:
            pass
        status = process.wait()
        self.died = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        if status == _NO_MEMORY:
            self.died = "out of memory"
        self._end()
        return False

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None


def _started() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.execution.deadly_images"],
        env=os.environ | {"PYTHONPATH": python_path()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # a terminal's Ctrl-C goes to the driver only, which ends this child
    )


def main() -> None:
    """Tries parts until the input ends or a part is deadly."""
    import resource

    from pipeline.execution.stages import encode_batches

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel ends this process first when memory is short
    answers = os.dup(1)
    os.dup2(2, 1)
    task: ShardTask = pickle.load(sys.stdin.buffer)
    for line in sys.stdin.buffer:
        start, stop = map(int, line.split())
        part = replace(task, entries=task.entries[start:stop])
        try:
            for _ in encode_batches(part, tuple(task.tars), Progress()):
                pass
        except MemoryError:
            os._exit(_NO_MEMORY)
        except Exception:  # the build itself reports other errors
            pass
        os.write(answers, b"lives\n")


if __name__ == "__main__":
    main()
