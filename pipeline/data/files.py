"""Positional reads from many files.

Reads share no seek position, so threads and forked processes never disturb each other.
"""

import io
import os
import resource

from pipeline.errors import PipelineError
from pipeline.storage.files import open_regular


class Files:
    """Keeps files open between reads: at most an eighth of the process's limit of file descriptors.

    A pickled copy starts without open files, because descriptors belong to the process that opened them.
    """

    def __init__(self) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._limit = 512 if soft == resource.RLIM_INFINITY else max(8, min(soft // 8, 4096))
        self._process = os.getpid()
        self._open: dict[str, io.FileIO] = {}

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Returns ``size`` bytes of a file, starting at byte ``offset``.

        Raises:
            PipelineError: the file cannot be read, or is too short.
        """
        if self._process != os.getpid():
            self._process, self._open = os.getpid(), {}
        try:
            file = self._open.get(path)
            if file is None:
                if len(self._open) >= self._limit:
                    self._open = {}  # each file closes when the last thread that reads it drops its reference
                file = self._open[path] = open_regular(path)
            data = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise PipelineError(f"{path}: {error.strerror}") from None
        if len(data) != size:
            raise PipelineError(f"{path} ends before byte {offset + size:,}; copy the output again, or build it again")
        return data

    def __getstate__(self) -> None:
        return None

    def __reduce__(self) -> tuple[type["Files"], tuple[()]]:
        return Files, ()
