"""A plot as SVG that takes its colours and its font from the page around it."""

import io
from xml.etree import ElementTree

from pipeline.report.plots.palette import THEME, VARIABLES
from pipeline.report.plots.plot import Plot

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def inline(plot: Plot) -> str:
    """An ``<svg>`` element for HTML: no style sheet, no font, no reference out of it, and ids of its own."""
    file = io.BytesIO()
    # An empty value leaves a field out: neither clock nor program name.
    empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    plot.save(THEME, file, format="svg", transparent=True, metadata=empty)
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    _rename(root, plot.name)
    for element in root.iter():
        style = element.get("style")
        if style:
            element.set("style", _themed(style))
    del root.attrib["width"], root.attrib["height"]  # the page's width decides
    root.attrib |= {"role": "img", "aria-labelledby": f"{plot.name}-alt", "class": "plot"}
    title = ElementTree.Element(f"{{{_SVG}}}title", {"id": f"{plot.name}-alt"})
    title.text = plot.alt
    root.insert(0, title)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _rename(root: ElementTree.Element, name: str) -> None:
    """Matplotlib's ids are the same in every figure; those that something refers to get the plot's name, others go."""
    used = {value.partition("#")[2].rstrip(")") for e in root.iter() for value in e.attrib.values() if "#" in value}
    for element in root.iter():
        known = element.attrib.pop("id", None)
        if known in used:
            element.set("id", f"{name}-{known}")
        for key, value in element.attrib.items():
            if value.startswith("#") and value[1:] in used:
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{name}-{value[5:]}")


def _themed(style: str) -> str:
    """Colours by the page's variables; the font's size stays, its family is the page's."""
    kept = []
    for rule in filter(None, map(str.strip, style.split(";"))):
        key, _, value = map(str.strip, rule.partition(":"))
        if key == "font":
            kept += [f"font-size: {word}" for word in value.split() if word.endswith("px")]
        elif key == "font-family":
            continue
        else:
            kept.append(f"{key}: {VARIABLES.get(value, value)}")
    return "; ".join(kept)
