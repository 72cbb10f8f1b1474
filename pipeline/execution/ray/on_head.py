"""Runs on the head of a cluster: builds the job that ``ray up`` left there.

``ray submit`` copies one file to the head and runs it with the head's own Python: this file (``rank-shards submit``), or
``jobs/run.py``, which imports it. Therefore it needs only the standard library. ``ray submit`` does not send an edited job
file. So without the digest that ``rank-shards submit`` passes, a copy of the job runs once for each ``ray up``.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

PROJECT = Path("~/rank-shards").expanduser()  # as in the job files' file_mounts
RESOLVED = Path("~/ray_bootstrap_config.yaml").expanduser()  # JSON, written by ray up
UP = Path("~/.rank-shards-up").expanduser()  # written by jobs/shell.sh at each ray up, also one that changes nothing
TAKEN = Path("~/.rank-shards-job.json").expanduser()  # the job that ran last, and the copy that it came from


def main(arguments: list[str]) -> NoReturn:
    """Builds the job. The first arguments may be ``--digest DIGEST``; the others are flags of the build."""
    if arguments[:1] == ["--digest"]:
        build(arguments[1], arguments[2:])
    build(None, arguments)


def digest(job: Any) -> str:
    """Returns twelve hexadecimal digits that identify the content of a job."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:12]


def build(expected: str | None, flags: list[str]) -> NoReturn:
    """Replaces this process by ``pipeline.build`` with the job of the last ``ray up``."""
    try:
        job = json.loads(RESOLVED.read_text())["metadata"]["job"]
        copied = RESOLVED.stat().st_ctime_ns
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (
            (error.strerror or "cannot be read") if isinstance(error, OSError) else "damaged, or not a configuration"
        )
        fail(f"{RESOLVED} holds no job ({reason}); run ray up with a job file that has a section metadata.job")
    refresh = "refresh it with: ray up -y --no-restart JOB.yaml   (or do both with: rank-shards submit JOB.yaml)"
    if expected not in (None, digest(job)):
        fail(f"the job on this head is {digest(job)}, yours is {expected}; {refresh}")
    if expected is None and copied == last_copy() and not up_since_last_run():
        fail(f"this copy of the job ({digest(job)}) has run before, and your file may have changed; {refresh}")
    TAKEN.write_text(json.dumps({"metadata": {"job": job}, "copy": copied}, ensure_ascii=False))
    print(f"job {digest(job)}: {json.dumps(job)}", flush=True)
    os.chdir(PROJECT)
    python = str(PROJECT / ".venv" / "bin" / "python")
    os.execv(python, [python, "-m", "pipeline.build", "--config", str(TAKEN), "--address", "auto", *flags])


def last_copy() -> int | None:
    """Returns the time stamp of the copy that ran last, or None."""
    try:
        return int(json.loads(TAKEN.read_text())["copy"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def up_since_last_run() -> bool:
    """Returns whether ``ray up`` was called after the start of the last run."""
    try:
        return UP.stat().st_mtime_ns > TAKEN.stat().st_mtime_ns
    except OSError:
        return False


def fail(line: str, status: int = 1) -> NoReturn:
    """Prints a line and ends the process."""
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
