"""One try at one shard, and what its failure means: worth another try, or the end of the build."""

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.errors import PipelineError
from pipeline.execution.build_shard import SourceChanged, build_shard
from pipeline.numerics.batch import HERE, Place
from pipeline.planning.shard_task import Progress, ShardTask
from pipeline.storage.lock import LostLock

ATTEMPTS = 3
_FINAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
_FINAL |= {errno.EXDEV, errno.EISDIR, errno.ENOTDIR}  # somebody has put something else in a file's place


@dataclass(frozen=True)
class Failure:
    """Why a try at a shard failed.

    Attributes:
        again: another try may succeed (a read error, a worker that died).
        details: a traceback, where the failure is a fault of this program.
    """

    message: str
    again: bool = False
    details: str = ""


@dataclass(frozen=True)
class WorkerDied(Failure):
    """The process that had the shard in work is gone, or had too little memory for it."""


def attempt(
    task: ShardTask, report: Callable[[Progress], None] = lambda progress: None, place: Place = HERE
) -> Progress | Failure:
    """Build a shard; failures come back as values, so that they survive the way from a worker."""
    try:
        try:
            return build_shard(task, place, report)
        except SourceChanged:
            return build_shard(replace(task, tars=task.every, kept=None), place, report)
    except OSError as error:
        name = error.filename2 or error.filename
        where = f" {name}" if name else ""
        message = f"shard {task.shard.name}:{where} {error.strerror or error}".strip()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message += "; free some space"
        return Failure(message, again=error.errno not in _FINAL)
    except LostLock:
        return Failure("another run has taken this output over; this one stops")
    except PipelineError as error:
        return Failure(str(error))
    except MemoryError:
        return WorkerDied(f"shard {task.shard.name}: out of memory; try fewer --workers", again=True)
    except Exception as error:  # a fault of ours must end as one line as well, with its traceback kept
        return Failure(
            f"shard {task.shard.name}: unexpected {type(error).__name__}: {error}", details=traceback.format_exc()
        )
