"""A folder for temporary files whose path is short enough for sockets: the kernel allows 107 bytes."""

import os
import tempfile
from pathlib import Path

from pipeline.errors import PipelineError

_SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def short_folder(name: int, variable: str = "TMPDIR") -> Path:
    """Returns ``TMPDIR``, or a standard folder where a socket with a name of ``name`` bytes has too long a path in it.

    Args:
        variable: that names the folder.

    Raises:
        PipelineError: there is no such folder.
    """
    for folder in (os.environ.get(variable) or tempfile.gettempdir(), *_SHORT):
        if len(os.fsencode(folder)) + 1 + name <= 107 and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    raise PipelineError(
        f"there is no folder for sockets: the path of {variable} is too long, and {', '.join(_SHORT)} cannot be written; "
        f"set {variable} to a shorter path"
    )
