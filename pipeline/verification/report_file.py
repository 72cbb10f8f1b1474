"""Writes the file of a report: it holds the whole report of this run, or it does not exist."""

import contextlib
import os
import tempfile
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.storage import user_files
from pipeline.verification.report import FIRST


class ReportFile:
    """The file of ``--json``.

    Args:
        path: ``-`` for stdout.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def clear(self, out: Path) -> None:
        """Removes the report of an earlier run, before any work: if this run fails, nobody must read it as this run's.

        Raises:
            PipelineError: the path has a file of another kind, is inside the output, or cannot be written.
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
        """Writes the report. Raises OSError."""
        if str(self._path) == "-":
            print(content.decode(), end="", flush=True)
        elif self._plain():
            _replace(self._path.resolve(), content)
        else:
            self._path.write_bytes(content)

    def _plain(self) -> bool:
        """Returns whether the path is a file or free, and no pipe or device."""
        return self._path.is_file() or not self._path.exists()


def _replace(path: Path, content: bytes) -> None:
    """Writes a temporary file beside, syncs and renames it: a full disk or a power failure leaves no half report."""
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
