"""Writes the results of a study: tables as csv, settings as json, arrays as npz. A file is written whole or not at all."""

import argparse
import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, UsageError

Row = Mapping[str, Any]


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows as csv. The first row names the columns; floats have six decimals; NaN and None are empty cells."""
    listed = list(rows)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(listed[0]) if listed else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in listed)
    write_whole(path, lambda partial: partial.write_bytes(file.getvalue().encode()))


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6f}"
    return value


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes indented json with sorted keys; paths become text."""
    encoded = (json.dumps(content, indent=1, sort_keys=True, default=str) + "\n").encode()
    write_whole(path, lambda partial: partial.write_bytes(encoded))


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes compressed arrays, as ``numpy.load`` reads them."""
    import numpy as np

    def save(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_whole(path, save)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside ``path``, syncs it to disk and renames it to ``path``.

    Args:
        write: called with the temporary path to write to.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(path: Path, other: str | None = None) -> Path:
    """Creates the folder for results if it does not exist, and returns it.

    Args:
        other: another study whose tables have the same file names.

    Raises:
        UsageError: the folder holds tables of the other study.
        PipelineError: the path is a file, or the folder cannot be created.
    """
    if other and (path / f"{other}.json").exists():
        raise UsageError(f"--out {path} holds the tables of pipeline.study.{other}: name another folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PipelineError(f"--out {path}: {error.strerror}") from None
    return path


def plain_options(options: argparse.Namespace) -> dict[str, Any]:
    """Returns a command's options as json values, without the output folder."""
    values = {name: value for name, value in vars(options).items() if name not in ("model", "out")}
    return values | {"model": [vars(model) for model in options.model]}


def settings(options: Mapping[str, Any], packages: Sequence[str] = ("numpy", "torch", "matplotlib")) -> dict[str, Any]:
    """Returns a command's options and the versions of the packages that computed its numbers."""
    from importlib.metadata import version

    import pipeline

    versions = {"rank-shards": pipeline.__version__, **{name: version(name) for name in packages}}
    return {"options": dict(options), "versions": versions}


def aligned(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """Returns the lines of a text table. The first ``left`` columns are left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
