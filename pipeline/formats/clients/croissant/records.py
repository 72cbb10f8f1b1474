"""Croissant's record sets: the classes, and for each variant its labels and its samples.

A sample is two members of a tar, so its image and its label are joined by their key. mlcroissant performs only the first
join of a record set: the field ``key`` comes first. Its regular expression also matches a key, because the join replaces
the file name by the key.
"""

from typing import Any

from pipeline import class_names
from pipeline.formats.clients.croissant import distribution

_CLASSES = "classes"
_STEM = "^([^.]+)"


def record_sets(manifest: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """Returns the record sets of some variants, after that of the classes."""
    listed = [_classes(manifest["classes"])] if manifest["classes"] else []
    for name in names:
        listed += [_labels(name), _samples(name, manifest, bool(manifest["classes"]))]
    return listed


def _classes(names: list[str]) -> dict[str, Any]:
    label, name = f"{_CLASSES}/label", f"{_CLASSES}/name"
    return {
        "@type": "cr:RecordSet",
        "@id": _CLASSES,
        "name": _CLASSES,
        "description": "The names of the classes by label.",
        "dataType": "sc:Enumeration",
        "key": {"@id": label},
        "field": [
            _field(label, "The label.", "sc:Integer"),
            _field(name, "The name of the class.", ["sc:Text", "sc:name"]),
        ],
        "data": [{label: i, name: text} for i, text in enumerate(class_names.unique(names))],
    }


def _labels(variant: str) -> dict[str, Any]:
    """Returns the record set of the labels by key. Only the variant's samples refer to it."""
    name = distribution.labels(variant) + "-by-key"
    files = distribution.labels(variant)
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"The labels of {variant} by key.",
        "key": {"@id": f"{name}/key"},
        "field": [
            _field(f"{name}/key", "The key of the sample.", "sc:Text") | _from(files, "filename", _STEM),
            _field(f"{name}/label", "The label.", "sc:Integer") | _from(files, "content"),
        ],
    }


def _samples(variant: str, manifest: dict[str, Any], has_classes: bool) -> dict[str, Any]:
    described = manifest["variants"][variant]
    files, others = distribution.images(variant), distribution.labels(variant) + "-by-key"
    form = described.get("form", "png")
    key = _field(f"{variant}/key", "The key: the same image has it in every variant.", "sc:Text")
    label = _field(f"{variant}/label", "The label.", ["sc:Integer", "cr:Label"])
    label |= {"source": {"field": {"@id": f"{others}/label"}}}
    if has_classes:
        label |= {"references": {"field": {"@id": f"{_CLASSES}/label"}}}
    split = _field(f"{variant}/split", "The split: " + ", ".join(described["splits"]) + ".", ["sc:Text", "cr:Split"])
    return {
        "@type": "cr:RecordSet",
        "@id": variant,
        "name": variant,
        "description": _meaning(described, manifest["numerics"]),
        "key": {"@id": f"{variant}/key"},
        "field": [
            key | _from(files, "filename", _STEM) | {"references": {"field": {"@id": f"{others}/key"}}},
            _image(variant, form) | _from(files, "content"),
            label,
            split | _from(files, "fullpath", rf"^(.+)-.+\.{form}$"),
        ],
    }


def _image(variant: str, form: str) -> dict[str, Any]:
    if form == "png":
        return _field(f"{variant}/image", "The image: PNG, 8-bit RGB.", "sc:ImageObject")
    text = "The bytes of a NumPy .npy file: little-endian float32 (h, w, 3). Read it with numpy.load."
    return _field(f"{variant}/array", text, "sc:Text")


def _meaning(variant: dict[str, Any], numerics: dict[str, Any]) -> str:
    """Returns how the pixels of a variant were computed."""
    component, exact = variant["component"], variant.get("form", "png") != "png"
    cut = {
        "low": f"The low-rank images: the {variant.get('rank')} largest singular values of every colour channel.",
        "high": f"The high-rank-only images: without the {variant.get('rank')} largest singular values.",
        "band": f"The singular values {variant.get('above', 0) + 1} to {variant.get('rank')}.",
        "lowpass": f"The frequencies up to radius {variant.get('radius')}.",
        "highpass": f"The frequencies above radius {variant.get('radius')}.",
        "full": "The untouched images.",
    }[component]
    if exact:
        return f"{cut} Float32, neither rounded nor clipped, without an offset."
    formula = numerics.get(component)
    return f"{cut} Pixel = {formula}." if formula else cut


def _field(identifier: str, description: str, kind: str | list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": identifier,
        "name": identifier.rpartition("/")[2],
        "description": description,
        "dataType": kind,
    }


def _from(files: str, what: str, regex: str = "") -> dict[str, Any]:
    """Returns the source of a field: a property of the files of a set, or the part of it that a regex captures."""
    source = {"fileSet": {"@id": files}, "extract": {"fileProperty": what}}
    return {"source": source | ({"transform": {"regex": regex}} if regex else {})}
