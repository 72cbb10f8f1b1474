"""Starts processes that find this program's package."""

import os
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import pipeline

PROJECT = Path(pipeline.__file__).resolve().parents[1]  # the folder that holds the package


def python_path() -> str:
    """Returns ``PYTHONPATH`` for a child process: the project's folder before what is set already.

    A folder of installed packages is left out: every Python searches it, after its own library.
    """
    folders = {Path(folder).resolve() for folder in (*site.getsitepackages(), site.getusersitepackages())}
    project = "" if PROJECT in folders else str(PROJECT)
    return os.pathsep.join(filter(None, [project, os.environ.get("PYTHONPATH")]))


def start(module: str, **options: Any) -> "subprocess.Popen[bytes]":
    """Starts a module of this package in a process of its own. Modules in the current folder are not found by it.

    Args:
        module: such as ``pipeline.execution.deadly_images``.
        options: passed to ``subprocess.Popen``.
    """
    environment = os.environ | {"PYTHONPATH": python_path()}
    return subprocess.Popen([sys.executable, "-P", "-m", module], env=environment, **options)
