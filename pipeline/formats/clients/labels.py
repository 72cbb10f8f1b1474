"""Class names as readers take them: printable, and no two alike. Position stays the label."""

import unicodedata
from collections import Counter
from collections.abc import Sequence


def unique(classes: Sequence[str]) -> list[str]:
    """The names, valid UTF-8; Hugging Face refuses equal ones, so those get their label: ``crane (134)``."""
    names = [_utf8(name) for name in classes]
    return _numbered(names)


def lines(classes: Sequence[str]) -> list[str]:
    """The same, each on one line: runs of white space are one space, and control characters ``\\x1b`` and the like."""
    return _numbered([_shown(" ".join(_utf8(name).split())) for name in classes])


def _shown(name: str) -> str:
    """Without what a terminal would obey; other characters that do not print (joiners in scripts) are part of a name."""
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) == "Cc" else c for c in name)


def _utf8(name: str) -> str:
    """Bytes of a folder's name that are no UTF-8 become ``\\udcff`` and the like."""
    return name.encode("utf-8", "backslashreplace").decode()


def _numbered(names: list[str]) -> list[str]:
    names = [name or f"({label})" for label, name in enumerate(names)]
    counts = Counter(names)
    numbered = [f"{name} ({label})" if counts[name] > 1 else name for label, name in enumerate(names)]
    if len(set(numbered)) < len(names):  # another class is really called "crane (134)"
        numbered = [f"{name} ({label})" for label, name in enumerate(names)]
    return numbered
