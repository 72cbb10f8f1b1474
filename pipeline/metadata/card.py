"""The dataset card ``README.md``: for people, and for Hugging Face datasets, one config per variant.

Its YAML head makes ``load_dataset(out, "<name>-rank5")`` work; the digest in each description keeps the cache of
``datasets`` from returning an older build.
"""

import hashlib
from typing import Any

import yaml


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    """The card of the output, and one of each variant's folder."""
    variants = manifest["variants"]
    made = {"README.md": _card(manifest, list(variants), at_root=True)}
    for name, variant in variants.items():
        made[f"{variant['folder']}/README.md"] = _card(manifest, [name], at_root=False)
    return made


def _card(manifest: dict[str, Any], names: list[str], at_root: bool) -> bytes:
    chosen = [manifest["variants"][name] for name in names]
    head = {
        "configs": [_config(variant, at_root, default=i == 0) for i, variant in enumerate(chosen)],
        "dataset_info": [_info(variant, manifest["classes"]) for variant in chosen],
        "task_categories": ["image-classification"],
    }
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=False, width=1000)
    return f"---\n{text}---\n\n{_text(manifest, names)}".encode("utf-8", "backslashreplace")


def _config(variant: dict[str, Any], at_root: bool, default: bool) -> dict[str, Any]:
    folder = variant["folder"]
    prefix = f"{folder}/" if at_root else ""
    paths = [{"split": split, "path": f"{prefix}{folder}-{split}-*.tar"} for split in _filled(variant)]
    return {"config_name": folder, "data_files": paths} | ({"default": True} if default else {})


def _info(variant: dict[str, Any], classes: list[str]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for described in variant["splits"].values():
        for shard in described["shards"]:
            digest.update(bytes.fromhex(shard["sha256"]))
    labels = {str(i): name.encode("utf-8", "backslashreplace").decode() for i, name in enumerate(classes)}
    return {
        "config_name": variant["folder"],
        "description": f"content-sha256:{digest.hexdigest()}",
        "features": [
            {"name": "__key__", "dtype": "string"},
            {"name": "png", "dtype": "image"},
            {"name": "cls", "dtype": {"class_label": {"names": labels}}},
        ],
        "splits": [
            {"name": split, "num_examples": described["samples"], "num_bytes": described["bytes"]}
            for split, described in _filled(variant).items()
        ],
    }


def _filled(variant: dict[str, Any]) -> dict[str, Any]:
    """The splits that hold samples: an empty one makes ``datasets`` refuse the whole output."""
    return {split: described for split, described in variant["splits"].items() if described["samples"]}


def _text(manifest: dict[str, Any], names: list[str]) -> str:
    source, image = manifest["source"], manifest["image"]
    parts = [f"# {manifest['name']}: low-rank and high-rank-only images\n"]
    if source["note"]:
        parts.append(f"> **{source['note']}**\n")
    if not source["checksums_verified"]:
        parts.append("> **Built from files whose checksums are not the official ones (`--allow-unverified`).**\n")
    parts.append(
        f"Made from {source['title']} ({image['height']} x {image['width']} pixels). Every colour channel X of every image "
        "was decomposed once, X = U S V^T; `rankK` keeps the K largest singular values, `highrankK` removes them "
        "(A Singular Value Perspective on Model Robustness, eq. 1-2), `full` is the untouched image.\n"
    )
    if any(manifest["variants"][name]["component"] == "high" for name in names):
        offset = manifest["numerics"]["high_offset"]
        parts.append(
            f"**High-rank-only images are signed and stored with an offset of {offset}: "
            f"the residual in grey levels is `pixel - {offset}`.** It is the same for every image; nothing is normalised. "
            f"Where neither clips, low + high - {offset} is the original image exactly.\n"
        )
    parts += [_table(manifest, names), _usage(manifest, names), f"Terms of the source: {source['terms']}\n"]
    parts.append(f"Source fingerprint: `{source['fingerprint']}`\n")
    return "\n".join(parts)


def _table(manifest: dict[str, Any], names: list[str]) -> str:
    rows = [
        "| variant | split | images | clipped subpixels | mean (R, G, B) | std (R, G, B) |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        for split, described in manifest["variants"][name]["splits"].items():
            clipped = 100 * described["clipped"] / max(1, described["subpixels"])
            mean, std = (", ".join(f"{value:.4f}" for value in described[of]) for of in ("mean", "std"))
            rows.append(f"| {name} | {split} | {described['samples']:,} | {clipped:.2f} % | {mean} | {std} |")
    return "\n".join(rows) + "\n\nMean and std are of the stored pixels in [0, 1].\n"


def _usage(manifest: dict[str, Any], names: list[str]) -> str:
    variant = manifest["variants"][names[0]]
    folder, split = variant["folder"], next(iter(variant["splits"]))
    shards = len(variant["splits"][split]["shards"])
    pattern = f"{folder}/{folder}-{split}-{{000000..{max(0, shards - 1):06d}}}.tar"
    return (
        "```python\n"
        "import webdataset as wds\n"
        f'data = wds.WebDataset("{pattern}", shardshuffle=False).decode("pil").to_tuple("png", "cls")\n\n'
        "from datasets import load_dataset\n"
        f'data = load_dataset(".", "{folder}", split="{split}")  # a config per variant\n'
        "```\n"
    )
