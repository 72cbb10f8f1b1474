"""What a Croissant file says about origin, processing, limits and use: the RAI extension 1.0 and PROV-O.

NeurIPS requires of every dataset: limitations, biases, personal information, use cases, social impact, whether it holds
synthetic data, what it was derived from, and what generated it. The texts say what this program does and knows. Who
publishes an output has to complete them with what only they know about the source.
"""

import json
from typing import Any

from pipeline.formats.clients.croissant.place import plain

# Pages of the sources that everybody can look up.
_PAGES = {
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar.html",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar.html",
    "imagenet": "https://www.image-net.org/",
    "sample": "https://scikit-image.org/docs/stable/api/skimage.data.html",
}


def summary(manifest: dict[str, Any]) -> str:
    """Returns the description of the dataset."""
    offset = manifest["numerics"]["high_offset"]
    return (
        f"Low-rank and high-rank-only images of {plain(manifest['source']['title'])}. Every colour channel X of every image "
        "was decomposed once, X = U S V^T. rankK keeps the K largest singular values, highrankK removes them "
        "(A Singular Value Perspective on Model Robustness, arXiv:2012.03516). Signed images (highrank, band, highpass) "
        f"are PNG files with an offset of {offset}: the residual in grey levels is pixel - {offset}."
    )


def fields(manifest: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Returns the fields of the RAI extension and of the provenance, about some variants."""
    return {
        "rai:dataCollection": "No data was collected. A program computed the images from those of the source, "
        f"{plain(manifest['source']['title'])}, and copied the labels.",
        "rai:dataCollectionType": ["Secondary Data Analysis", "Software Collection"],
        "rai:dataPreprocessingProtocol": _preprocessing(manifest),
        "rai:dataAnnotationProtocol": "Nothing was annotated. The labels are those of the source, unchanged.",
        "rai:dataLimitations": _limitations(manifest, names),
        "rai:dataBiases": [
            "All biases of the source: its choice of images, its classes and the errors of its labels are unchanged.",
            "The images were not selected or weighted by content. Left out are only images that could not be decoded "
            f"({_rejects(manifest):,}, listed in rejects.jsonl){_limit(manifest)}.",
        ],
        "rai:personalSensitiveInformation": [
            "None was added. Photographs of the source may show people; its terms apply.",
            "A low rank is not anonymisation: the low-rank and the high-rank-only image add up to the original.",
        ],
        "rai:dataUseCases": [
            "Research on the robustness and interpretability of image classifiers: which ranks a network depends on, and "
            "how that changes with training.",
            "Not for decisions about people, and not as a substitute for the original images in a benchmark of accuracy.",
        ],
        "rai:dataSocialImpact": "Helps to understand when image classifiers fail. Accuracy on low-rank images says nothing "
        "about safety in use, and knowledge of the ranks that a network depends on can also be used to attack it.",
        "rai:hasSyntheticData": False,
        "rai:dataReleaseMaintenancePlan": "The files are reproducible: the same source and options give the same images. "
        "SHA-256 and pixel digests of every shard are in manifest.json.",
        "prov:wasDerivedFrom": _origin(manifest),
        "prov:wasGeneratedBy": _activity(manifest),
    }


def _preprocessing(manifest: dict[str, Any]) -> list[str]:
    geometry = manifest["image"]["geometry"]
    resize, crop = geometry["resize"], geometry["crop"]
    size = f"shorter side resized to {resize} pixels, bilinear with antialiasing" if resize else "not resized"
    steps = [f"Geometry: {size}; {f'centre crop of {crop} pixels' if crop else 'not cropped'}."]
    converted = {split: counts["converted"] for split, counts in manifest["splits"].items() if counts.get("converted")}
    if converted:
        texts = (f"{split} {kind} {number:,}" for split, kinds in converted.items() for kind, number in kinds.items())
        steps.append(f"Images that were not 8-bit RGB were converted to it: {', '.join(texts)}.")
    steps.append(
        "Singular value decomposition of every colour channel in float64; A_k is the sum of the k largest triplets."
    )
    formulas = {
        key: value for key, value in manifest["numerics"].items() if isinstance(value, str) and key != "high_scale"
    }
    steps.append("Pixels: " + "; ".join(f"{key}: {formula}" for key, formula in formulas.items()) + ".")
    return steps


def _limitations(manifest: dict[str, Any], names: list[str]) -> list[str]:
    texts = [
        "Pixels are rounded to whole grey levels, so a stored low-rank image is not exactly of rank k; -exact variants are.",
        "Rank is relative to the size of the image: the same k keeps less of a larger image.",
    ]
    parts = [part for name in names for part in manifest["variants"][name]["splits"].values()]
    clipped, subpixels = sum(part["clipped"] for part in parts), sum(part["subpixels"] for part in parts)
    if clipped:
        share = 100 * clipped / max(1, subpixels)
        texts.append(
            f"Values outside 0 to 255 are clipped: {share:.4f} % of the subpixels; there low + high is not exact."
        )
    if manifest["source"]["note"]:
        texts.append(f"Note on the source: {plain(manifest['source']['note'])}")
    if manifest["source"]["checksums_verified"] is False:
        texts.append("The files of the source do not have the official checksums.")
    if manifest["dataset"] not in _PAGES:
        texts.append(
            "The program that wrote this file does not know how the source was collected, nor whether it holds "
            "synthetic images."
        )
    return texts


def _rejects(manifest: dict[str, Any]) -> int:
    return sum(counts["rejects"] for counts in manifest["splits"].values())


def _limit(manifest: dict[str, Any]) -> str:
    limit = manifest["job"]["limit"]
    return f", and all but the first {limit:,} output positions of each split" if limit else ""


def _origin(manifest: dict[str, Any]) -> dict[str, Any]:
    source = manifest["source"]
    origin = {
        "@type": "prov:Entity",
        "prov:label": plain(source["title"]),
        "sc:description": f"{plain(source['terms'])} SHA-256 over names, sizes, labels and classes: {source['fingerprint']}",
    }
    page = _PAGES.get(manifest["dataset"])
    return origin | ({"sc:url": page} if page else {})


def _activity(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns the computation with its options. They are JSON in a text: their names are those of the manifest."""
    options = {
        "dataset": manifest["dataset"],
        "name": manifest["name"],
        **manifest["job"],
        "geometry": manifest["image"]["geometry"],
        "factors": manifest["factors"],
        "encoder": manifest["image"]["encoder"],
        "contract": manifest["numerics"]["contract"],
        "versions": manifest["versions"],
    }
    return {
        "@type": "prov:Activity",
        "prov:label": "Singular value decomposition and truncation",
        "sc:description": f"pipeline.build of rank-shards with these options: {json.dumps(options)}",
        "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": "rank-shards"},
    }
