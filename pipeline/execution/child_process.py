"""Where processes that this program starts find its package."""

import os
import site
from pathlib import Path

import pipeline

PROJECT = Path(pipeline.__file__).resolve().parents[1]  # the folder that holds the package


def python_path() -> str:
    """Returns ``PYTHONPATH`` for a child process: the project's folder before what is set already.

    A folder of installed packages is left out: every Python searches it, after its own library.
    """
    folders = {Path(folder).resolve() for folder in (*site.getsitepackages(), site.getusersitepackages())}
    project = "" if PROJECT in folders else str(PROJECT)
    return os.pathsep.join(filter(None, [project, os.environ.get("PYTHONPATH")]))
