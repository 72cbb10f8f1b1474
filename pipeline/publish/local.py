"""Checks the files of an output before they are uploaded."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.cores import usable_cores
from pipeline.errors import PipelineError, one_line
from pipeline.verification import quick_check
from pipeline.verification.faults import Faults
from pipeline.verification.files import INTACT, owners_of, state_of
from pipeline.verification.manifest.document import load


def check_quickly(out: Path) -> None:
    """Checks that all files have their sizes, and that manifest and client files agree. Raises PipelineError."""
    faults = quick_check.check(out).faults
    if faults.count:
        first = faults.listed[0]
        _refuse(out, first.file, first.text, faults.count)


def check_hashes(out: Path) -> None:
    """Compares every file with its SHA-256 in the manifest. Raises PipelineError."""
    manifest = load(out, Faults())
    owners = owners_of(manifest)
    with ThreadPoolExecutor(usable_cores()) as threads:
        states = threads.map(lambda item: (item[0], state_of(out, item[0], item[1], owners)), manifest.files.items())
        wrong = [(name, state.problem) for name, state in states if state.kind != INTACT]
    if wrong:
        _refuse(out, *wrong[0], len(wrong))


def _refuse(out: Path, file: str, problem: str, count: int) -> None:
    more = f" ({count} such files)" if count > 1 else ""
    raise PipelineError(
        one_line(
            f"{out} is damaged and was not published: {file}: {problem}{more}; verify lists all "
            "faults, repair and build correct them"
        )
    )
