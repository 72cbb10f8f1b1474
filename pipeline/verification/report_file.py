"""The file that a report is written to: a whole report of this run, or none."""

import contextlib
import os
import tempfile
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.storage import user_files
from pipeline.verification.report import FIRST


class ReportFile:
    """Where ``--json`` writes to.

    Args:
        path: the user's; ``-`` for stdout.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def clear(self, out: Path) -> None:
        """Before any work: what an earlier run has found is not to be taken for what this one finds, should it fail.

        Raises:
            PipelineError: another's file lies there, it is inside the output, or none can be written.
        """
        if str(self._path) == "-":
            return
        user_files.check_outside("--json", self._path, out)
        user_files.check("--json", self._path, FIRST, "is no report of verify")
        if self._plain():
            if not os.access(self._path.resolve().parent, os.W_OK):
                raise PipelineError(f"--json {self._path}: its folder cannot be written to; name another file")
            self._path.resolve().unlink(missing_ok=True)

    def write(self, content: bytes) -> None:
        """Raises OSError."""
        if str(self._path) == "-":
            print(content.decode(), end="", flush=True)
        elif self._plain():
            _replace(self._path.resolve(), content)
        else:
            self._path.write_bytes(content)

    def _plain(self) -> bool:
        """Whether it is a file, or will be: not a pipe or a device."""
        return self._path.is_file() or not self._path.exists()


def _replace(path: Path, content: bytes) -> None:
    """Write beside, sync, rename: where the disk is full, or the power fails, there is no half a report."""
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o666 & ~umask)
        os.replace(beside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
