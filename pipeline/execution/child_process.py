"""Where processes that this program starts find its package."""

import os
from pathlib import Path

import pipeline

PROJECT = Path(pipeline.__file__).resolve().parents[1]  # the folder that holds the package


def python_path() -> str:
    """Returns ``PYTHONPATH`` for a child process: the project's folder before what is set already."""
    return os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
