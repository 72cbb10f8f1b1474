"""``croissant.json`` at the root and in each variant's folder: Croissant 1.1 with the fields of its RAI extension.

Croissant (MLCommons) describes a dataset to search engines, loaders and conferences. A file has the SHA-256 of every shard,
a record set per variant, the provenance, and the fields that NeurIPS requires of datasets. Like every client's file it is
made from the manifest alone, so it holds no time and no address. ``pipeline.publish`` adds both to the manifest
(``published``), and makes the files of the published copy from that.
"""

import json
from typing import Any

from pipeline.formats.clients.croissant import distribution, records, responsible
from pipeline.formats.clients.croissant.context import CONFORMS_TO, CONTEXT
from pipeline.formats.clients.croissant.place import Place, plain

NAME = "croissant.json"
_PAPER = (
    "@article{jere2020singular, title={A Singular Value Perspective on Model Robustness}, "
    "author={Jere, Malhar and Kumar, Maghav and Koushanfar, Farinaz}, journal={arXiv preprint arXiv:2012.03516}, "
    "year={2020}}"
)
_KEYWORDS = ["image classification", "singular value decomposition", "low-rank approximation", "robustness"]


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    """Returns the description of the whole output, and that of each variant's folder, which can be copied alone."""
    variants = manifest["variants"]
    contents = {NAME: _document(manifest, list(variants), Place.of(manifest))}
    for name, variant in variants.items():
        contents[f"{variant['folder']}/{NAME}"] = _document(manifest, [name], Place.of(manifest, variant["folder"]))
    return contents


def _document(manifest: dict[str, Any], names: list[str], place: Place) -> bytes:
    source, title = manifest["source"], manifest["name"]
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": title if place.at_root else manifest["variants"][names[0]]["folder"],
        "description": responsible.summary(manifest),
        "conformsTo": CONFORMS_TO,
        "license": {"@type": "sc:CreativeWork", "name": "Terms of the source", "description": plain(source["terms"])},
        "creator": {
            "@type": "sc:Organization",
            "name": "rank-shards",
            "description": f"The program that computed the images. The originals are those of {plain(source['title'])}.",
        },
        "citeAs": _PAPER,
        "keywords": _KEYWORDS,
        "version": "1.0.0",
        "isLiveDataset": False,
    }
    document |= place.published
    document |= responsible.fields(manifest, names)
    document["distribution"] = distribution.resources(manifest, names, place)
    document["recordSet"] = records.record_sets(manifest, names)
    return json.dumps(document, indent=1).encode() + b"\n"
