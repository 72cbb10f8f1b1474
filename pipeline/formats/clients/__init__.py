"""Files that make an output drop-in: one small module per client, each from the manifest alone."""

from typing import Any

from pipeline.formats.clients import card, names, timm, wids


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    """Every client's files, by their names in the output. DALI's index lies beside each tar: tasks write it."""
    made: dict[str, bytes] = {}
    for module in (card, names, timm, wids):
        made |= module.files(manifest)
    return made
