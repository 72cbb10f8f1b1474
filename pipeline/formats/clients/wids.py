"""Indexes for wids, webdataset's random access: ``wids-<split>.json`` in each variant's folder, with relative URLs."""

import json
from typing import Any


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    contents = {}
    for variant in manifest["variants"].values():
        for split, part in variant["splits"].items():
            shards = [
                {"url": shard["name"].rpartition("/")[2], "nsamples": shard["samples"]} for shard in part["shards"]
            ]
            index = {"wids_version": 1, "name": f"{variant['folder']}-{split}", "shardlist": shards}
            contents[f"{variant['folder']}/wids-{split}.json"] = json.dumps(index, indent=1).encode()
    return contents
