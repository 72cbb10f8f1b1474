"""Compiles loops over arrays with numba, and keeps the machine code on disk where that is possible."""

import contextlib
import functools
import hashlib
import io
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numba
from numba.core import caching

from pipeline import console
from pipeline.errors import PipelineError, one_line

_caching: Any = caching  # without types
_config: Any = numba.config
_DIGEST = 32  # bytes of SHA-256
_said = False


def compiled(function: Any, **options: Any) -> Any:
    """Returns the function as numba compiles it, at its first call.

    The machine code is kept on disk, so that a machine compiles each loop once. Without a disk, or with a damaged cache,
    each process compiles for itself.

    Args:
        function: a function of arrays and numbers.
        options: passed to ``numba.njit``.
    """
    dispatcher = step(function, **options)
    try:
        dispatcher._cache = _OptionalCache(function)
    except (RuntimeError, OSError):  # numba finds no folder that it may write to
        dispatcher._cache = _NoFolder()
    return dispatcher


def step(function: Any, **options: Any) -> Any:
    """Returns a function that compiled functions call.

    Its machine code becomes part of theirs, so it needs no file of its own, which would take time to write.

    Args:
        function, options: see ``compiled``.

    Raises:
        PipelineError: NUMBA_DISABLE_JIT is set. Loops in vector lanes are no Python, and the others would take hours.
    """
    if _config.DISABLE_JIT:
        raise PipelineError("NUMBA_DISABLE_JIT is set, but these loops run only as compiled code: unset it")
    # Numba would also compile an entry for C, which nothing calls.
    without_entry: dict[str, Any] = {"no_cfunc_wrapper": True}
    return numba.njit(**without_entry, **options)(function)


@functools.cache
def _sources(folder: Path) -> str:
    """Returns a digest of all modules of this package folder (``numerics``) and of ``folder``.

    A compiled function contains what it calls, mostly from these folders. Numba itself only notices when the function's own
    module changes, and would run old machine code.
    """
    digest = hashlib.sha256()
    for path in sorted({*Path(__file__).parent.rglob("*.py"), *folder.glob("*.py")}):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class _SealedFiles(_caching.IndexDataCacheFile):  # type: ignore[misc]
    """Numba's files of one function, each with a digest at its end, which ``pickle`` ignores.

    Numba alone runs damaged machine code, which kills the process.
    """

    @contextlib.contextmanager
    def _open_for_write(self, path: str) -> Iterator[io.BytesIO]:
        buffer = io.BytesIO()
        yield buffer
        content = buffer.getvalue()
        with super()._open_for_write(path) as file:
            file.write(content + hashlib.sha256(content).digest())

    def _load_index(self) -> Any:
        with contextlib.suppress(FileNotFoundError):
            _check(self._index_path)
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        _check(self._data_path(name))
        return super()._load_data(name)


def _check(path: str) -> None:
    content = Path(path).read_bytes()
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise ValueError(f"{path} is damaged")


class _Place(_caching.CompileResultCacheImpl):  # type: ignore[misc]
    """Where numba caches: in NUMBA_CACHE_DIR, beside the source, or in the home folder."""

    _locator_classes: ClassVar = [
        _caching.UserProvidedCacheLocator,
        _caching.InTreeCacheLocator,
        # Without a home folder, numba would make one called "~" in the current directory.
        *([_caching.UserWideCacheLocator] if os.path.isabs(os.path.expanduser("~")) else []),
    ]


class _OptionalCache(_caching.FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function. An error of it costs a compilation, and never a result."""

    _impl_class = _Place

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        name = f"{self._impl.filename_base}.sealed"  # numba's own files have no digests
        self._cache_file = _SealedFiles(self._cache_path, name, self._impl.locator.get_source_stamp())

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        return *super()._index_key(signature, codegen), _sources(Path(self._py_func.__code__.co_filename).parent)

    def load_overload(self, signature: Any, target: Any) -> Any:
        try:
            return super().load_overload(signature, target)
        except OSError as error:
            self._say(f"cannot be read ({error.strerror}): every process compiles for itself")
        except Exception:  # unpickling a damaged file raises errors of many types
            self._say("is damaged: it is written again")
            with contextlib.suppress(Exception):
                self.flush()  # an empty index, to which the function is added
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        try:
            super().save_overload(signature, result)
        except Exception as error:
            self._say(
                f"cannot be written ({getattr(error, 'strerror', None) or error}): every process compiles for itself"
            )

    def _say(self, fault: str) -> None:
        _say_once(f"the cache of compiled code in {self.cache_path} {fault}")


class _NoFolder(_caching.NullCache):  # type: ignore[misc]
    def load_overload(self, *_: Any) -> None:
        _say_once(
            "there is no folder for the cache of compiled code: every process compiles for itself; see NUMBA_CACHE_DIR"
        )


def _say_once(fault: str) -> None:
    """Prints a message, once in a process, and not in the workers of ``multiprocessing``: their parent prints it."""
    global _said
    if not _said and multiprocessing.parent_process() is None:
        console.tell(one_line(fault))
    _said = True
