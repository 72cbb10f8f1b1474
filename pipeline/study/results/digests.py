"""Digests of images and networks: they show whether results that exist are of the same ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xxhash

from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.options import ModelOption


def images_digest(images: Images) -> str:
    """Returns the number of images, and a digest of their pixels, labels, keys and classes."""
    digest = xxhash.xxh3_64()
    for array in (images.pixels, images.labels):
        digest.update(np.ascontiguousarray(array).data)
    digest.update("\0".join([*images.keys, "", *images.classes]).encode())
    return f"{len(images):,} of {images.origin} ({digest.hexdigest()})"


def network_digests(networks: Sequence[Network], models: Sequence[ModelOption]) -> dict[str, str]:
    """Returns by name what each network is: its ``--model``, and a digest of its weights, mean and std, or of its file.

    The code of ``module:factory`` is not part of it.
    """
    digests = {}
    for network, model in zip(networks, models, strict=True):
        digest = xxhash.xxh3_64()
        for name, tensor in network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
        if Path(model.spec).is_file():
            digest.update(Path(model.spec).read_bytes())
        digest.update(str(network.input_size).encode())
        digests[network.name] = f"{model.spec} ({digest.hexdigest()})"
    return digests
