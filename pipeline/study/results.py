"""What every experiment leaves behind: tables as csv, settings as json; whole or not at all."""

import argparse
import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, UsageError

Row = Mapping[str, Any]


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Rows of the same columns, the first's; floats with six digits behind the point, NaN and None empty."""
    listed = list(rows)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(listed[0]) if listed else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in listed)
    write(path, file.getvalue().encode())


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6f}"
    return value


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Sorted, indented; paths as text."""
    write(path, (json.dumps(content, indent=1, sort_keys=True, default=str) + "\n").encode())


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Compressed arrays, as ``numpy.load`` reads them."""
    import numpy as np

    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write(path, file.getvalue())


def write(path: Path, content: bytes) -> None:
    """Put a whole file in place."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    os.replace(beside, path)


def folder(path: Path, other: str | None = None) -> Path:
    """The folder for results, made if need be.

    Args:
        other: another experiment whose tables have the same names.

    Raises:
        UsageError: there are tables of the other experiment.
        PipelineError: it is a file.
    """
    if other and (path / f"{other}.json").exists():
        raise UsageError(f"--out {path} holds the tables of pipeline.study.{other}: name another folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PipelineError(f"--out {path}: {error.strerror}") from None
    return path


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """A command's options as json takes them, without where results go."""
    given = {name: value for name, value in vars(options).items() if name not in ("model", "out")}
    return given | {"model": [vars(one) for one in options.model]}


def settings(options: Mapping[str, Any], names: Sequence[str] = ("numpy", "torch", "matplotlib")) -> dict[str, Any]:
    """A command's options, and the versions that its numbers come from."""
    from importlib.metadata import version

    import pipeline

    versions = {"rank-shards": pipeline.__version__, **{name: version(name) for name in names}}
    return {"options": dict(options), "versions": versions}
