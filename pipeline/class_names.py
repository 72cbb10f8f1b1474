"""Names of classes that readers accept: printable and distinct. A name's position is its label."""

import unicodedata
from collections import Counter
from collections.abc import Sequence


def unique(classes: Sequence[str]) -> list[str]:
    """Returns the names in valid UTF-8. Equal names, which Hugging Face refuses, get their label: ``crane (134)``."""
    return distinct([_utf8(name) for name in classes])


def lines(classes: Sequence[str]) -> list[str]:
    """Returns the names as ``unique`` does, each on one line: white space becomes one space, ESC becomes ``\\x1b``."""
    return distinct([_escaped(" ".join(_utf8(name).split())) for name in classes])


def _escaped(name: str) -> str:
    """Returns a name with control characters escaped. Other unprintable characters (joiners in scripts) belong to it."""
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) == "Cc" else c for c in name)


def _utf8(name: str) -> str:
    """Returns a folder's name in which bytes that are not UTF-8 are escaped, as in ``\\udcff``."""
    return name.encode("utf-8", "backslashreplace").decode()


def distinct(names: Sequence[str]) -> list[str]:
    """Appends the label to names that several classes have: ``crane (134)``. An empty name becomes its label: ``(5)``."""
    names = [name or f"({label})" for label, name in enumerate(names)]
    counts = Counter(names)
    numbered = [f"{name} ({label})" if counts[name] > 1 else name for label, name in enumerate(names)]
    if len(set(numbered)) < len(names):  # another class has the name "crane (134)"
        numbered = [f"{name} ({label})" for label, name in enumerate(names)]
    return numbered
