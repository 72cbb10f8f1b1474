"""``_info.json`` for timm's ``wds/`` reader: in each variant's folder, and at the root with composite split names.

All four fields of a split are mandatory there. Without one of that name, val or else test also answers to ``validation``.
timm has no reader of float arrays: exact variants are left out.
"""

import json
from typing import Any


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    made, every = {}, {}
    for name, variant in manifest["variants"].items():
        if variant.get("form", "png") != "png":
            continue
        own = {}
        for split, described in variant["splits"].items():
            for alias in [split, *_aliases(split, variant["splits"])]:
                own[alias] = _split(alias, described, strip=True)
                composite = root_split(name, variant, alias)
                every[composite] = _split(composite, described, strip=False)
        made[f"{variant['folder']}/_info.json"] = json.dumps({"splits": own}, indent=1).encode()
    made["_info.json"] = json.dumps({"splits": every}, indent=1).encode()
    return made


def root_split(name: str, variant: dict[str, Any], split: str) -> str:
    """What timm calls a variant's split at the root: ``cifar10-rank5-train``.

    timm takes a split with "tar" anywhere in it for the name of a file, warns, and gives no sample: the splits of a
    dataset called "guitars" go without its name.
    """
    composite = f"{variant['folder']}-{split}"
    return f"{name}-{split}" if "tar" in composite else composite


def _aliases(split: str, splits: dict[str, Any]) -> list[str]:
    """``validation`` for the split that stands for it: validation itself, else val, else test."""
    held_out = next((name for name in ("validation", "val", "test") if name in splits), None)
    return ["validation"] if split == held_out != "validation" else []


def _split(name: str, described: dict[str, Any], strip: bool) -> dict[str, Any]:
    names = [shard["name"] for shard in described["shards"]]
    return {
        "name": name,
        "num_samples": described["samples"],
        "filenames": [path.rpartition("/")[2] if strip else path for path in names],
        "shard_lengths": [shard["samples"] for shard in described["shards"]],
    }
