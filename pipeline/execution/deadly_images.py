"""Finds the images that kill whoever decodes or cuts them, by trying parts of a shard in processes that may die.

``python -m pipeline.execution.deadly_images`` is such a process: it reads a pickled task and then a part's bounds a line,
and answers each part that it survives with a line.
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
from pipeline.planning.shard_task import Progress, ShardTask, Step

MOST = 8  # killers of a shard; more are hardly the images' fault
_NO_MEMORY = 70  # exit status of a process that had too little memory


def killers(task: ShardTask, progress: Progress) -> dict[int, str]:
    """The entries of a shard that kill a process, by index, with the reason; by bisection, nothing is written.

    An entry counts as a killer when a process that survives an empty part dies of it twice. About 2 log2(n) trials each.

    Args:
        progress: is kept at the part that is tried.

    Raises:
        PipelineError: there are too many.
    """
    found: dict[int, str] = {}
    parts = [(0, len(task.entries))]
    with _Expendable(task) as process:
        while parts:
            start, stop = parts.pop()
            more = f" and {stop - start - 1} more" * (stop - start > 1)
            progress.now = Step("trial", f"{task.entries[start].name}{more}", time.monotonic())
            if process.survives(start, stop):
                continue
            if stop - start > 1:
                middle = (start + stop) // 2
                parts += [(middle, stop), (start, middle)]
            elif process.survives(0, 0) and not process.survives(start, stop):
                found[task.entries[start].index] = f"kills its worker ({process.died})"
            if len(task.killers) + len(found) > MOST:
                raise PipelineError(
                    f"shard {task.shard.name}: more than {MOST} of its images kill their worker, "
                    f"{task.entries[start].name} among them; that is hardly the images' fault"
                )
    return found


class _Expendable:
    """A process that tries parts of a shard; another one after each death. Use as a context manager.

    Attributes:
        died: of what the last one died, as in ``SIGSEGV``.
    """

    def __init__(self, task: ShardTask) -> None:
        self._task, self.died = pickle.dumps(task), ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "_Expendable":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def survives(self, start: int, stop: int) -> bool:
        """Whether a process lives on after the entries from ``start`` to ``stop`` (not included)."""
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
    package_root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.execution.deadly_images"],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # a terminal's Ctrl-C is the driver's, which ends this one
    )


def main() -> None:
    """Try parts until the input ends or a part is deadly."""
    import resource

    from pipeline.execution.stages import encode_batches

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # who has to go for want of memory
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
        except Exception:  # whatever is no death is the build's to tell
            pass
        os.write(answers, b"lives\n")


if __name__ == "__main__":
    main()
