"""Renders the report as one HTML file that loads nothing from a network."""

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from markupsafe import Markup

from pipeline.errors import PipelineError, one_line
from pipeline.report.contents import Report
from pipeline.report.gallery import SMALL, Sheet
from pipeline.report.page import embed
from pipeline.report.pictures import Ladder
from pipeline.report.plots import svg
from pipeline.report.plots.spectrum import share


def render(report: Report) -> str:
    """Returns the HTML page. Raises PipelineError if the manifest lacks a field that the page shows."""
    code = _asset("page.js")
    environment = Environment(
        loader=PackageLoader("pipeline.report.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "size": _bytes, "line": one_line}
    facts = report.facts
    try:
        return environment.get_template("page.html.j2").render(
            report=report,
            facts=facts,
            manifest=facts.manifest,
            size=_size(report),
            small=report.shape is not None and max(report.shape) <= SMALL,
            sheet=_sheet(report.sheet),
            figures={number: _sheet(sheet) for number, sheet in report.figures.items()},
            ladders=[_ladder(ladder) for ladder in report.ladders],
            plots={
                name: {"svg": Markup(svg.inline(plot)), "title": plot.title, "table": plot.table}
                for name, plot in report.plots.items()
            },
            style=Markup(_asset("page.css")),
            code=Markup(code),
            code_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
        )
    except (UndefinedError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise PipelineError(f"manifest.json is damaged ({one_line(error)}); copy or build the output again") from None


def _asset(name: str) -> str:
    return resources.files("pipeline.report.page").joinpath(name).read_text(encoding="utf-8")


def _sheet(sheet: Sheet) -> dict[str, Any]:
    rows = [{"label": row.label, "tiles": [tile and embed.picture(tile) for tile in row.tiles]} for row in sheet.rows]
    return {"columns": sheet.columns, "rows": rows}


def _ladder(ladder: Ladder) -> dict[str, Any]:
    first = next(iter(ladder.frames.values()))[0]
    return {
        "name": ladder.chosen.label,
        "key": ladder.chosen.key,
        "ranks": ",".join(map(str, ladder.ranks)),
        "count": len(ladder.ranks),
        "energy": "|".join(map(share, ladder.energy)),
        "psnr": "|".join(f"{value:.1f} dB" for value in ladder.psnr),
        "original": ladder.original and embed.picture(ladder.original),
        "thumb": embed.picture(ladder.original) if ladder.original else None,
        "strips": {name: embed.strip(frames) for name, frames in ladder.frames.items()},
        "ratio": f"{first.shape[1]} / {first.shape[0]}",
    }


def _size(report: Report) -> str:
    return f"{report.shape[0]} × {report.shape[1]}" if report.shape else "of many sizes"


def _number(value: Any) -> str:
    return f"{int(value):,}"


def _bytes(value: Any) -> str:
    return f"{int(value) / 1e9:,.2f} GB" if int(value) >= 1e9 else f"{int(value) / 1e6:,.1f} MB"
