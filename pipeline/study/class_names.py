"""Names of classes for figures: words in the place of ImageNet's WordNet ids."""

from collections.abc import Sequence

_LONGEST = 22  # characters


def shown_names(classes: Sequence[str]) -> list[str]:
    """Returns a short name of every class: the first word of the class list for a WordNet id, else its own name."""
    words = _words() if any(map(_is_id, classes)) else {}
    return [_short(words.get(name, name).split(",")[0] if _is_id(name) else name) for name in classes]


def _words() -> dict[str, str]:
    from pipeline.sources.imagenet import manifest

    return dict(manifest.load().synsets)


def _is_id(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
