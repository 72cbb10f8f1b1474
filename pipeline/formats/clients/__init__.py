"""Files that let other libraries read an output unchanged: one module per client, each from the manifest alone."""

from typing import Any

from pipeline.formats.clients import card, names, timm, wids


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    """Returns the files of all clients, by their names in the output. DALI's indexes are missing: tasks write them."""
    contents: dict[str, bytes] = {}
    for module in (card, names, timm, wids):
        contents |= module.files(manifest)
    return contents
