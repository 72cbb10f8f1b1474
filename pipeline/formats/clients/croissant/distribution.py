"""The files of an output as Croissant's resources: every shard with its SHA-256, and the sets of files made of them."""

from typing import Any

from pipeline.formats.clients.croissant.place import Place

# Other files at the root of an output, as sets: kind, pattern and meaning. mlcroissant cannot read Zarr.
_OTHERS = {
    "samples": ("application/jsonlines", "samples/*.jsonl", "Key, label and original name of every output position."),
    "rejects": (
        "application/jsonlines",
        "rejects.jsonl",
        "The images of the source that are not in the output, and why.",
    ),
    "spectra": (
        "application/octet-stream",
        "spectra.zarr/*",
        "Zarr 3: the singular values, one row per output position.",
    ),
    "factors": ("application/octet-stream", "factors.zarr/*", "Zarr 3: the largest singular triplets of every image."),
}


def images(variant: str) -> str:
    """Returns the identifier of the set of a variant's images."""
    return f"{variant}-images"


def labels(variant: str) -> str:
    """Returns the identifier of the set of a variant's labels."""
    return f"{variant}-labels"


def resources(manifest: dict[str, Any], names: list[str], place: Place) -> list[dict[str, Any]]:
    """Returns the distribution of some variants."""
    listed: list[dict[str, Any]] = []
    for name in names:
        listed += _variant(name, manifest["variants"][name], place)
    return listed + (_others(bool(manifest["factors"])) if place.at_root else [])


def _variant(name: str, variant: dict[str, Any], place: Place) -> list[dict[str, Any]]:
    shards = [shard for part in variant["splits"].values() for shard in part["shards"]]
    form = variant.get("form", "png")
    inside = [{"@id": place.identifier(shard["name"])} for shard in shards]
    tars = [_file(place, s["name"], s["bytes"], s["sha256"], "application/x-tar") for s in shards]
    kind = "image/png" if form == "png" else "application/octet-stream"
    return [
        *tars,
        _members(images(name), inside, kind, f"*.{form}"),
        _members(labels(name), inside, "text/plain", "*.cls"),
    ]


def _members(identifier: str, inside: list[dict[str, str]], kind: str, pattern: str) -> dict[str, Any]:
    """Returns the set of the members of some archives that match a pattern."""
    return {
        "@type": "cr:FileSet",
        "@id": identifier,
        "name": identifier,
        "containedIn": inside,
        "encodingFormat": kind,
        "includes": pattern,
    }


def _file(place: Place, name: str, size: int, digest: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": place.identifier(name),
        "name": name.rpartition("/")[2],
        "contentUrl": place.content_url(name),
        "contentSize": f"{size} B",
        "encodingFormat": kind,
        "sha256": digest,
    }


def _others(has_factors: bool) -> list[dict[str, Any]]:
    """Returns the lists of samples and rejects, and the stores of arrays. Their hashes are in the manifest only."""
    return [
        {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "description": text,
            "encodingFormat": kind,
            "includes": pattern,
        }
        for name, (kind, pattern, text) in _OTHERS.items()
        if name != "factors" or has_factors
    ]
