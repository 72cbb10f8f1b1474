"""``_info.json`` for timm's ``wds/`` reader: in each variant's folder, and at the root with composite split names.

timm needs all four fields of a split. If no split is named ``validation``, val or else test has it as a second name. timm
cannot read float arrays, so exact variants are left out.
"""

import json
from typing import Any


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    contents, root = {}, {}
    for name, variant in manifest["variants"].items():
        if variant.get("form", "png") != "png":
            continue
        splits = {}
        for split, part in variant["splits"].items():
            for alias in [split, *_aliases(split, variant["splits"])]:
                splits[alias] = _split(alias, part, strip=True)
                composite = root_split(name, variant, alias)
                root[composite] = _split(composite, part, strip=False)
        contents[f"{variant['folder']}/_info.json"] = json.dumps({"splits": splits}, indent=1).encode()
    contents["_info.json"] = json.dumps({"splits": root}, indent=1).encode()
    return contents


def root_split(name: str, variant: dict[str, Any], split: str) -> str:
    """Returns timm's name for a variant's split at the root: ``cifar10-rank5-train``.

    timm treats a split with "tar" in its name as a file and gives no sample. So the split names of a dataset called
    "guitars" do not contain the dataset's name.
    """
    composite = f"{variant['folder']}-{split}"
    return f"{name}-{split}" if "tar" in composite else composite


def _aliases(split: str, splits: dict[str, Any]) -> list[str]:
    """Returns ``validation`` for the split that serves as it (val, else test), if no split has that name."""
    held_out = next((name for name in ("validation", "val", "test") if name in splits), None)
    return ["validation"] if split == held_out != "validation" else []


def _split(name: str, part: dict[str, Any], strip: bool) -> dict[str, Any]:
    """Returns the four fields of a split. ``strip``: whether file names are relative to the variant's folder."""
    names = [shard["name"] for shard in part["shards"]]
    return {
        "name": name,
        "num_samples": part["samples"],
        "filenames": [path.rpartition("/")[2] if strip else path for path in names],
        "shard_lengths": [shard["samples"] for shard in part["shards"]],
    }
