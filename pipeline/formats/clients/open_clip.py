"""``sizes.json`` and ``classnames.txt`` in every variant's folder, for open_clip and CLIP_benchmark.

``sizes.json`` has the number of samples of each shard, as open_clip reads it. ``classnames.txt`` has one name per line, in
the order of the labels, as CLIP_benchmark reads it.
"""

import json
from typing import Any

from pipeline import class_names


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    classes = "".join(f"{name}\n" for name in class_names.lines(manifest["classes"])).encode()
    contents = {}
    for variant in manifest["variants"].values():
        shards = [shard for split in variant["splits"].values() for shard in split["shards"]]
        sizes = {shard["name"].rpartition("/")[2]: shard["samples"] for shard in shards}
        contents[f"{variant['folder']}/classnames.txt"] = classes
        contents[f"{variant['folder']}/sizes.json"] = json.dumps(sizes, indent=1).encode()
    return contents
