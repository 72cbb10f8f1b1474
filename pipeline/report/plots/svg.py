"""Converts a plot to SVG that uses the colours and the font of the page."""

import io
from xml.etree import ElementTree

from pipeline.report.plots.palette import THEME, VARIABLES
from pipeline.report.plots.plot import Plot

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def inline(plot: Plot) -> str:
    """Returns an ``<svg>`` element for HTML, without style sheet, fonts or external references, and with unique ids."""
    file = io.BytesIO()
    # An empty value omits the field, so that neither a clock nor a version is in the file.
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
    del root.attrib["width"], root.attrib["height"]  # the page's width determines the size
    root.attrib |= {"role": "img", "aria-labelledby": f"{plot.name}-alt", "class": "plot"}
    title = ElementTree.Element(f"{{{_SVG}}}title", {"id": f"{plot.name}-alt"})
    title.text = plot.alt
    root.insert(0, title)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _rename(root: ElementTree.Element, name: str) -> None:
    """Makes ids unique in the page: referenced ids get the plot's name as a prefix, others are removed."""
    used = {value.partition("#")[2].rstrip(")") for e in root.iter() for value in e.attrib.values() if "#" in value}
    for element in root.iter():
        identifier = element.attrib.pop("id", None)
        if identifier in used:
            element.set("id", f"{name}-{identifier}")
        for key, value in element.attrib.items():
            if value.startswith("#") and value[1:] in used:
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{name}-{value[5:]}")


def _themed(style: str) -> str:
    """Returns a style with the page's colour variables and font family; the font size stays."""
    rules = []
    for rule in filter(None, map(str.strip, style.split(";"))):
        key, _, value = map(str.strip, rule.partition(":"))
        if key == "font":
            rules += [f"font-size: {word}" for word in value.split() if word.endswith("px")]
        elif key == "font-family":
            continue
        else:
            rules.append(f"{key}: {VARIABLES.get(value, value)}")
    return "; ".join(rules)
