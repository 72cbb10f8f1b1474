"""Files that let other libraries read an output unchanged: one module per kind of file, each from the manifest alone."""

from typing import Any

from pipeline.formats.clients import card, croissant, open_clip, timm, wids


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    """Returns the files of all clients, by their names in the output. DALI's indexes are missing: tasks write them."""
    contents: dict[str, bytes] = {}
    for module in (card, croissant, open_clip, timm, wids):
        contents |= module.files(manifest)
    return contents
