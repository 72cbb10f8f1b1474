"""The dataset card ``README.md``, for people and for Hugging Face ``datasets``, with one config per variant.

``load_dataset(out, "<name>-rank5")`` reads its YAML header. The digest in each description keeps the cache of ``datasets``
from returning an older build.
"""

import hashlib
import re
from typing import Any

import yaml

from pipeline import class_names
from pipeline.errors import one_line
from pipeline.formats.clients import timm
from pipeline.numerics.variants import PASSES, SIGNED

_SIGNED = {"high": "high-rank-only images", "band": "bands", "highpass": "high-pass images"}


def files(manifest: dict[str, Any]) -> dict[str, bytes]:
    """Returns the card of the output and the card of each variant's folder."""
    variants = manifest["variants"]
    cards = {"README.md": _card(manifest, list(variants), at_root=True)}
    for name, variant in variants.items():
        cards[f"{variant['folder']}/README.md"] = _card(manifest, [name], at_root=False)
    return cards


def _card(manifest: dict[str, Any], names: list[str], at_root: bool) -> bytes:
    chosen = [manifest["variants"][name] for name in names]
    head = {
        "configs": [_config(variant, at_root, default=i == 0) for i, variant in enumerate(chosen)],
        "dataset_info": [_info(manifest, variant) for variant in chosen],
        "task_categories": ["image-classification"],
    }
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=False, width=1000)
    return f"---\n{text}---\n\n{_text(manifest, names, at_root)}".encode("utf-8", "backslashreplace")


def _config(variant: dict[str, Any], at_root: bool, default: bool) -> dict[str, Any]:
    folder = variant["folder"]
    prefix = f"{folder}/" if at_root else ""
    paths = [{"split": split, "path": f"{prefix}{folder}-{split}-*.tar"} for split in _filled(variant)]
    return {"config_name": folder, "data_files": paths} | ({"default": True} if default else {})


def _info(manifest: dict[str, Any], variant: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for part in variant["splits"].values():
        for shard in part["shards"]:
            digest.update(bytes.fromhex(shard["sha256"]))
    names = {str(i): name for i, name in enumerate(class_names.unique(manifest["classes"]))}
    return {
        "config_name": variant["folder"],
        "description": f"content-sha256:{digest.hexdigest()}",
        "features": [
            {"name": "__key__", "dtype": "string"},
            _image_feature(manifest, variant),
            {"name": "cls", "dtype": {"class_label": {"names": names}}},
        ],
        "splits": [
            {"name": split, "num_examples": part["samples"], "num_bytes": part["bytes"]}
            for split, part in _filled(variant).items()
        ],
    }


def _image_feature(manifest: dict[str, Any], variant: dict[str, Any]) -> dict[str, Any]:
    """Returns the feature of the images. ``datasets`` needs an array's shape; images of several sizes are nested lists."""
    image = manifest["image"]
    if not _exact(variant):
        return {"name": "png", "dtype": "image"}
    if image["height"] is None or image["width"] is None:
        return {"name": "npy", "list": {"list": {"list": "float32"}}}
    shape = [image["height"], image["width"], 3]
    return {"name": "npy", "dtype": {"array3_d": {"shape": shape, "dtype": "float32"}}}


def _exact(variant: dict[str, Any]) -> bool:
    """Returns whether the images are float32 ``.npy`` members instead of PNG."""
    return bool(variant.get("form", "png") != "png")


def _filled(variant: dict[str, Any]) -> dict[str, Any]:
    """Returns the splits that hold samples: ``datasets`` refuses an output with an empty split."""
    return {split: part for split, part in variant["splits"].items() if part["samples"]}


def _text(manifest: dict[str, Any], names: list[str], at_root: bool) -> str:
    source, image = manifest["source"], manifest["image"]
    parts = [f"# {manifest['name']}: low-rank and high-rank-only images\n"]
    if source["note"]:
        parts.append(f"> **{_plain(source['note'])}**\n")
    if source["checksums_verified"] is False:
        parts.append("> **Built from files whose checksums are not the official ones (`--allow-unverified`).**\n")
    size = "each image at its own size"
    if image["height"] is not None and image["width"] is not None:
        size = f"{image['height']} x {image['width']} pixels"
    chosen = [manifest["variants"][name] for name in names]
    parts.append(
        f"Made from {source['title']} ({size}). Every colour channel X of every image "
        "was decomposed once, X = U S V^T; `rankK` keeps the K largest singular values, `highrankK` removes them "
        f"(A Singular Value Perspective on Model Robustness, eq. 1-2), {_further(chosen)}`full` is the untouched image.\n"
    )
    signed = [variant["component"] for variant in chosen if variant["component"] in SIGNED and not _exact(variant)]
    if signed:
        offset = manifest["numerics"]["high_offset"]
        kinds = " and ".join(text for component, text in _SIGNED.items() if component in signed)
        identity = (
            f" Where neither clips, low + high - {offset} is the original image exactly."
            if {*signed} - {"band"}
            else ""
        )
        parts.append(
            f"**{kinds[0].upper()}{kinds[1:]} are signed and stored with an offset of {offset}: "
            f"the residual in grey levels is `pixel - {offset}`.** It is the same for every image; nothing is "
            f"normalised.{identity}\n"
        )
    if any(_exact(variant) for variant in chosen):
        parts.append(
            "**`-exact` variants are float32 `.npy` arrays (h, w, 3) with X = grey level / 255, not rounded and not "
            "clipped: low-rank values may leave [0, 1], and high-rank-only values are signed around 0, WITHOUT the offset "
            "of the PNG images.** Subtract nothing; low + high is the original image / 255.\n"
        )
    parts += [_table(manifest, names), _usage(manifest, names, at_root), f"Terms of the source: {source['terms']}\n"]
    parts.append(f"Source fingerprint: `{source['fingerprint']}`\n")
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Returns text from the source, such as file names, escaped for Markdown."""
    return re.sub(r"[\\`*\[\]<>|&]", r"\\\g<0>", one_line(text))


def _further(chosen: list[dict[str, Any]]) -> str:
    """Returns the explanation of bands and Fourier cuts, if the card's variants have them."""
    components = {variant["component"] for variant in chosen}
    texts = []
    if "band" in components:
        texts.append("`bandA-B` holds the singular values A + 1 to B, ")
    if components & {*PASSES}:
        texts.append(
            "`lowpassR` keeps the frequencies u^2 + v^2 <= R^2 of the discrete Fourier transform (section 9.1; u and v in "
            "periods per height and per width), `highpassR` removes them, "
        )
    return "".join(texts)


def _table(manifest: dict[str, Any], names: list[str]) -> str:
    rows = [
        "| variant | split | images | clipped subpixels | mean (R, G, B) | std (R, G, B) |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        variant = manifest["variants"][name]
        for split, part in variant["splits"].items():
            share = 100 * part["clipped"] / max(1, part["subpixels"])
            clipped = "not clipped" if _exact(variant) else f"{share:.2f} %"
            mean, std = (
                ", ".join(f"{round(value, 4) + 0.0:.4f}" for value in part[moment]) for moment in ("mean", "std")
            )
            rows.append(f"| {name} | {split} | {part['samples']:,} | {clipped} | {mean} | {std} |")
    note = "Mean and std are of the stored pixels in [0, 1]"
    if any(_exact(manifest["variants"][name]) for name in names):
        note += "; for `-exact` variants, of the stored values"
    return "\n".join(rows) + f"\n\n{note}.\n"


def _usage(manifest: dict[str, Any], names: list[str], at_root: bool) -> str:
    """Returns an example per client for the first variant. Paths are relative to the card's folder."""
    name = names[0]
    variant = manifest["variants"][name]
    folder, member = variant["folder"], "npy" if _exact(variant) else "png"
    split = next(iter(_filled(variant) or variant["splits"]))
    shards = len(variant["splits"][split]["shards"])
    prefix = f"{folder}/" if at_root else ""
    pattern = f"{prefix}{folder}-{split}-{{000000..{max(0, shards - 1):06d}}}.tar"
    examples = [
        "import webdataset as wds\n"
        f'data = wds.WebDataset("{pattern}", shardshuffle=False).decode("pil").to_tuple("{member}", "cls")\n',
        "import os\nfrom datasets import load_dataset\n"
        f'data = load_dataset(os.getcwd(), "{folder}", split="{split}")  # a config per variant; it refuses "."\n',
        "import wids  # localname: without it, wids reads copies that it never refreshes\n"
        f'data = wids.ShardListDataset("{prefix}wids-{split}.json", localname=lambda url: url)  # keys .{member}, .cls\n',
    ]
    if not _exact(variant):
        inside = timm.root_split(name, variant, split) if at_root else split
        examples.append(
            f'from timm.data import create_dataset\ndata = create_dataset("wds/", root=".", split="{inside}")\n'
        )
    ours = f'RankDataset("OUTPUT", "{name}", "{split}")'
    return (
        f"With this project: `from pipeline.data import RankDataset`, then `{ours}`. In other clients, in this folder:\n\n"
        + "\n".join(f"```python\n{example}```\n" for example in examples)
        + f'\nNVIDIA DALI: `fn.readers.webdataset(paths=tars, index_paths=idxs, ext=["{member}", "cls"])`, '
        "with each shard's `.idx` beside it.\n"
    )
