"""Writes the report's pictures and plots as PNG files for papers and talks (``--png``)."""

from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.report.contents import Report
from pipeline.report.gallery import Sheet, draw, save
from pipeline.report.plots.palette import PAPER
from pipeline.storage.user_files import MARK, check_picture

_DPI = 300
_TILE = 256  # pixels of each picture of a sheet: a CIFAR pixel becomes 8 x 8


def check(report: Report, folder: Path) -> None:
    """Raises UsageError if writing would replace a picture that no report has written."""
    for name in [*_sheets(report), *report.plots]:
        check_picture("--png", folder / f"{name}.png")


def write(report: Report, folder: Path) -> list[str]:
    """Writes ``contact-sheet.png``, ``figure-N.png`` and ``PLOT.png`` into a folder and returns their names.

    Raises:
        PipelineError: a file cannot be written.
    """
    sheets = _sheets(report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, sheet in sheets.items():
            save(draw(sheet, _TILE), folder / f"{name}.png", _DPI)
        for name, plot in report.plots.items():
            plot.save(PAPER, folder / f"{name}.png", dpi=_DPI, facecolor="white", metadata={"Software": MARK})
    except OSError as error:
        raise PipelineError(f"--png {error.filename or folder}: {error.strerror}") from None
    return [f"{name}.png" for name in [*sheets, *report.plots]]


def _sheets(report: Report) -> dict[str, Sheet]:
    return {"contact-sheet": report.sheet} | {f"figure-{n}": sheet for n, sheet in report.figures.items()}
