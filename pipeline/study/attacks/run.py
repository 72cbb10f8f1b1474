"""Attacks on networks and on networks behind rank truncation, and what is predicted afterwards (table 2)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.study.attacks.pgd import Attack, draw_starts, draw_targets, perturb
from pipeline.study.attacks.truncation import GRADIENTS, Truncated
from pipeline.study.inputs import Images
from pipeline.study.networks.load import Network

TRANSFER = "transfer"  # made for the network alone, then shown to it behind truncation
DIRECT = "direct"  # made for what it is shown to


@dataclass(frozen=True)
class Outcome:
    """One attack on one classifier: a network, or a network behind truncation.

    Attributes:
        model: the network's name.
        rank: what its input is truncated to; None for its input as it is.
        attack: ``direct``, ``transfer``, or of ``GRADIENTS`` for one through the truncation.
        before, after: int64 (n,), the classifier's predictions of the images and of what the attack made of them.
    """

    model: str
    rank: int | None
    attack: str
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Attacked:
    """All outcomes over the same images, with the same targets.

    Attributes:
        targets: int64 (n,).
    """

    images: Images
    attack: Attack
    targets: np.ndarray
    outcomes: list[Outcome]


def run(
    networks: Sequence[Network],
    images: Images,
    attack: Attack,
    ranks: Sequence[int] = (),
    batch: int = 256,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Attacked:
    """Attack every network, alone and behind truncation to every rank.

    Args:
        networks: on the device.
        ranks: of truncation: each is met by the attack on the network alone, and by adaptive ones with both gradients.
        batch: images at a time; changes no target and no start.
        progress: called with batches done and all batches.

    Raises:
        UsageError: a network through which no gradients flow.
    """
    for network in networks:
        network.need_gradients("an attack", images.size)
    targets = draw_targets(images.labels, len(images.classes), attack.seed)
    count, (height, width) = len(images), images.size
    starts = draw_starts((count, 3, height, width), attack)
    slices = [slice(start, start + batch) for start in range(0, count, batch)]
    found: dict[tuple[str, int | None, str], list[tuple[Tensor, Tensor]]] = {}
    for number, network in enumerate(networks):
        for done, rows in enumerate(slices, 1):
            pixels = torch.from_numpy(images.pixels[rows]).to(device)
            x = pixels.permute(0, 3, 1, 2).float().contiguous() / 255
            given = (x, torch.from_numpy(targets[rows]).to(device), torch.from_numpy(starts[rows]).to(device))
            for rank, name, before, after in _batch(network, *given, attack, ranks):
                found.setdefault((network.name, rank, name), []).append((before, after))
            progress(number * len(slices) + done, len(networks) * len(slices))
    outcomes = [
        Outcome(*name, *(torch.cat(parts).cpu().numpy() for parts in zip(*of, strict=True)))
        for name, of in found.items()
    ]
    return Attacked(images, attack, targets, outcomes)


def _batch(
    network: Network, x: Tensor, targets: Tensor, starts: Tensor, attack: Attack, ranks: Sequence[int]
) -> Iterator[tuple[int | None, str, Tensor, Tensor]]:
    adversarial = perturb(network, x, targets, starts, attack)
    yield None, DIRECT, _predict(network, x), _predict(network, adversarial)
    for rank in ranks:
        behind = {gradient: Truncated(network, rank, gradient) for gradient in GRADIENTS}
        before = _predict(behind[GRADIENTS[0]], x)
        yield rank, TRANSFER, before, _predict(behind[GRADIENTS[0]], adversarial)
        for gradient, classifier in behind.items():
            yield rank, gradient, before, _predict(classifier, perturb(classifier, x, targets, starts, attack))


@torch.no_grad()
def _predict(classifier: nn.Module, x: Tensor) -> Tensor:
    predicted: Tensor = classifier(x).argmax(1)
    return predicted
