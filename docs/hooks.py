"""Hooks of MkDocs (mkdocs.yml): what the site has beyond the files in docs/.

The pages are written for a code host. These hooks add the project's own Markdown files and the API reference to the site,
point links at the site's pages, and fail the build when a page would load anything from another host.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

import pipeline
import pipeline.data

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
API = {
    "pipeline": pipeline.__all__,
    "pipeline.report.rank_image": ["RankedImage"],
    "pipeline.dataset_objects": ["BuiltDataset", "RepairedDataset"],
    "pipeline.data": pipeline.data.__all__,
    "pipeline.transforms": ["RankTruncate", "truncate"],
    "pipeline.study.networks.load": ["load_network"],
    "pipeline.study.networks.network": ["Network"],
    "pipeline.study.images": ["Images", "from_output", "from_source", "from_records"],
    "pipeline.study.spectra.spectrum": ["run", "Plan", "Spectrum"],
    "pipeline.study.distortion.matching": ["distort", "Distorted"],
    "pipeline.study.attribution.gradients": ["rig", "vanilla"],
    "pipeline.study.intervals": ["wilson", "paired_difference", "share"],
    "pipeline.sources.index": ["Source", "SourceIndex", "SplitIndex", "Entry", "Picture"],
    "pipeline.numerics.variants": ["Variant"],
    "pipeline.numerics.svd": ["Decomposition", "Truncation", "decompose", "truncate", "factors"],
    "pipeline.numerics.cut": ["Cut", "Statistics", "cut"],
}
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()#\s]+)(#[^()\s]*)?\)")
_LIST_AFTER_TEXT = re.compile(r"^((?!\s*(?:[-*+]|\d+\.) |\s|$|#|\||```).*\n)(?=(?:[-*]|\d+\.) )", re.M)
_LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\"'> ]*")


def on_files(files: Files, config: Any) -> Files:
    """Adds the Markdown files of the project's root and the API reference."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    files.append(File.generated(config, "api.md", content=api_page()))
    return files


def api_page() -> str:
    """Returns the page of the API reference, as directives of mkdocstrings."""
    parts = ["# Python API", "Made from the docstrings. The [README](index.md#train) shows `pipeline.data` in use."]
    for module, names in API.items():
        parts.append(f"## {module}")
        parts += [f"::: {module}.{name}" for name in names]
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns a page with links that lead to the site's pages, and with the empty lines that Python-Markdown needs."""
    if page.file.src_uri == "api.md":
        return markdown
    sources = {target: name for name, target in PAGES.items()}
    folder = posixpath.dirname(sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    parts[::2] = [
        _LIST_AFTER_TEXT.sub(r"\1\n", _LINK.sub(lambda link: _on_site(link, folder), text)) for text in parts[::2]
    ]
    return "".join(parts)


def _on_site(link: re.Match[str], folder: str) -> str:
    """Returns a link of a page in ``folder`` as a link of the site; where the site has no such file, as its name."""
    image, text, target, anchor = link.groups(default="")
    if re.match(r"[a-z]+:", target):
        return link[0]
    path = posixpath.normpath(posixpath.join(folder, target))
    if path in PAGES:
        return f"{image}[{text}]({PAGES[path]}{anchor})"
    if path.startswith("docs/"):
        return f"{image}[{text}]({path.removeprefix('docs/')}{anchor})"
    if not (ROOT / path).exists():
        return link[0]
    return "`" + text.replace("\\_", "_") + "`" if re.fullmatch(r"\S*[./]\S*", text) else text


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Fails the build when a page loads a script, style or picture from another host."""
    if found := _LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another host: {found[0]}")
    return output
