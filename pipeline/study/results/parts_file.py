"""Results that are written as they are computed, in one file to which parts are appended: the same command resumes."""

import base64
import binascii
import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import PipelineError, UsageError, one_line

Arrays = dict[str, np.ndarray]


class PartsFile:
    """The finished parts of a study's results.

    The file has a line of JSON with the settings, then a line per part. A kill can damage only the last line, which is cut
    off when the file is opened again.

    Attributes:
        parts: arrays by name, of every finished part by its name.
    """

    def __init__(self, file: BinaryIO, parts: dict[str, Arrays]) -> None:
        self._file, self.parts = file, parts

    def append(self, part: str, arrays: Arrays) -> None:
        """Adds a part. When this returns, the part is on the disk."""
        encoded = {name: _encode(array) for name, array in arrays.items()}
        _write(self._file, {"part": part, "arrays": encoded})
        self.parts[part] = arrays


@contextmanager
def open_results(out: Path, study: str, settings: Mapping[str, Any]) -> Iterator[PartsFile]:
    """Opens the parts of a study in its folder, ``STUDY.parts.jsonl``. See ``open_parts``.

    Raises:
        UsageError: the folder holds finished results without their parts.
    """
    path = out / f"{study}.parts.jsonl"
    if (out / f"{study}.json").exists() and not path.exists():
        raise UsageError(
            f"--out {out} holds results without {path.name}, so they cannot be resumed: name another folder"
        )
    with open_parts(path, settings) as file:
        yield file


@contextmanager
def open_parts(path: Path, settings: Mapping[str, Any]) -> Iterator[PartsFile]:
    """Opens the file, or creates it. It is locked until the block ends.

    Args:
        settings: everything that changes the results, as json values. A file of other settings is refused.

    Raises:
        UsageError: the file is of other settings.
        PipelineError: another process writes the file, or it is no file of parts.
    """
    wanted = json.loads(json.dumps(settings, default=str))
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineError(
                f"{path.parent}: another process computes this study; wait, or name another --out"
            ) from None
        lines, end = _whole_lines(file)
        if lines:
            _check_settings(path, lines[0].get("settings"), wanted)
        file.truncate(end)
        if not lines:
            _write(file, {"settings": wanted})
        parts = {line["part"]: {name: _decode(a) for name, a in line["arrays"].items()} for line in lines[1:]}
        yield PartsFile(file, parts)


def _write(file: BinaryIO, content: Mapping[str, Any]) -> None:
    file.write(json.dumps(content, sort_keys=True).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _whole_lines(file: BinaryIO) -> tuple[list[dict[str, Any]], int]:
    """Returns the lines up to the first damaged one, and their length in bytes."""
    file.seek(0)
    lines, end = list[dict[str, Any]](), 0
    for raw in file:
        try:
            line = json.loads(raw)
            for array in line["arrays"].values() if lines else ():
                _decode(array)
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error, binascii.Error):
            break
        if not raw.endswith(b"\n") or not isinstance(line, dict):
            break
        lines.append(line)
        end += len(raw)
    return lines, end


def _check_settings(path: Path, found: Any, wanted: dict[str, Any]) -> None:
    if not isinstance(found, dict):
        raise PipelineError(f"{path} holds no results of a study: name another --out, or remove the file")
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            was, now = (_short(content.get(key)) for content in (found, wanted))
            raise UsageError(
                f"--out {path.parent} holds results of other settings: {key} was {was}, now it is {now}; "
                "name another folder"
            )


def _short(value: Any) -> str:
    text = one_line(json.dumps(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _encode(array: np.ndarray) -> dict[str, Any]:
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 1)).decode()
    return {"dtype": array.dtype.str, "shape": array.shape, "data": data}


def _decode(encoded: Mapping[str, Any]) -> np.ndarray:
    data = zlib.decompress(base64.b64decode(encoded["data"], validate=True))
    return np.frombuffer(data, np.dtype(encoded["dtype"])).reshape(encoded["shape"])
