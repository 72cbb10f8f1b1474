"""Intercepts every operation of this process that changes the disk below a folder, before it happens."""

import builtins
import io
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

CREATE, TRUNCATE, WRITE, FSYNC = "create", "truncate", "write", "fsync"
RENAME, UNLINK, MKDIR, RMDIR = "rename", "unlink", "mkdir", "rmdir"


@dataclass(frozen=True)
class Operation:
    """One system call.

    Attributes:
        kind: of the operation.
        path: of the file or folder.
        to: the new path of a rename.
        at, data: the offset and the bytes of a write.
    """

    kind: str
    path: str
    to: str = ""
    at: int = 0
    data: bytes = b""

    @property
    def grows(self) -> bool:
        """Whether the operation needs space on the disk."""
        return self.kind in (CREATE, WRITE, MKDIR)


# Wraps each operation. It may do the first half of a write instead.
Around = Callable[[Operation, Callable[[], object]], AbstractContextManager[object]]


def watch(root: str, around: Around) -> None:
    """Wraps every operation on ``root`` or below in ``around``, until the process ends.

    Nothing is really synced: that matters only for power failures, which are simulated.
    """
    real = {name: getattr(os, name) for name in ("open", "replace", "unlink", "rmdir", "mkdir")}
    real_open = io.open

    def holds(path: str) -> bool:
        return f"{path}/".startswith(f"{root}/")

    def nothing() -> None:
        return None

    class File(io.FileIO):
        def write(self, data: Any) -> int:
            view = memoryview(data).cast("B")
            write = Operation(WRITE, str(self.name), at=self.tell(), data=bytes(view))
            with around(write, lambda: super(File, self).write(view[: len(view) // 2])):
                return super().write(view)

    def opened(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **options: Any) -> Any:
        path = "" if isinstance(file, int) else str(os.fspath(file))
        if not holds(path) or not set(mode) & set("wax+"):
            return real_open(file, mode, buffering, *more, **options)
        plain = mode.replace("b", "").replace("t", "")
        if os.path.exists(path) and "w" not in mode:
            raw = File(path, plain)
        else:
            with around(Operation(TRUNCATE if os.path.exists(path) else CREATE, path), nothing):
                raw = File(path, plain)
        if buffering == 0:
            return raw
        return io.BufferedWriter(raw) if "b" in mode else io.TextIOWrapper(io.BufferedWriter(raw), "utf-8")

    def low_open(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if not flags & os.O_CREAT or not holds(os.fspath(path)) or os.path.exists(path):
            return int(real["open"](path, flags, *more, **options))
        with around(Operation(CREATE, os.fspath(path)), nothing):
            return int(real["open"](path, flags, *more, **options))

    def replace(source: Any, target: Any) -> None:
        source, target = os.fspath(source), os.fspath(target)
        if not holds(target):
            real["replace"](source, target)
            return
        with around(Operation(RENAME, source, to=target), nothing):
            real["replace"](source, target)

    def changing(kind: str, there: bool) -> Callable[..., None]:
        def change(path: Any, *more: Any, dir_fd: int | None = None) -> None:
            folder = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
            full = os.path.join(folder, os.fspath(path))
            if not holds(full) or os.path.lexists(full) is not there:
                real[kind](path, *more, dir_fd=dir_fd)
                return
            with around(Operation(kind, full), nothing):
                real[kind](path, *more, dir_fd=dir_fd)

        return change

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if holds(path):
            with around(Operation(FSYNC, path), nothing):
                pass

    io.open = builtins.open = opened
    os.open, os.fsync = low_open, fsync  # type: ignore[assignment]
    os.replace = os.rename = replace  # type: ignore[assignment]
    os.unlink = os.remove = changing(UNLINK, True)
    os.rmdir, os.mkdir = changing(RMDIR, True), changing(MKDIR, False)
