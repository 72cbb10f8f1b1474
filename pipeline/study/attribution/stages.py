"""How Rank Integrated Gradients of one image come about: figure 10 of the paper."""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.study.attribution.gradients import along_ranks, weight
from pipeline.study.attribution.maps import Method
from pipeline.study.images import Images
from pipeline.study.networks.network import Network

_COUNT = 6  # ranks shown
_LOWEST = 3


@dataclass(frozen=True)
class Stages:
    """The terms of equation 3 at some ranks.

    Attributes:
        model: name of the network.
        target: the class to explain.
        ranks: int (m,), ranks k.
        cuts: float32 (m, h, w, 3), the rank-k images in [0, 1], unclipped.
        gradients: float32 (m, h, w), the gradients at these images, reduced over the channels.
        sums: float32 (m, h, w), the weighted sums of the gradients at ranks 1 to k.
    """

    model: str
    target: int
    ranks: np.ndarray
    cuts: np.ndarray
    gradients: np.ndarray
    sums: np.ndarray


def stages(network: Network, images: Images, method: Method) -> Stages:
    """Returns the stages of the first image, at ranks of equal ratios from 3 to the last one."""
    x = torch.from_numpy(images.pixels[:1].transpose(0, 3, 1, 2).copy()).to(network.device, torch.float32) / 255
    with torch.no_grad():
        target = network(x).argmax(1)
    last = min(images.size) - 1
    shown = {int(k) for k in np.geomspace(min(_LOWEST, last), last, _COUNT).round()}
    total = torch.zeros_like(x[0, 0])
    kept = []
    for k, cut, maps in along_ranks(network, x, target, method.reduce, method.output, method.batch):
        total = total + weight(k, x) * maps[0]
        if k in shown:
            kept.append((k, cut[0].permute(1, 2, 0).cpu().numpy(), maps[0].cpu().numpy(), total.cpu().numpy()))
    return Stages(network.name, int(target), *(np.stack(part) for part in zip(*kept, strict=True)))
