"""Attacks networks, alone and behind rank truncation, and records the predictions before and after (table 2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.study.attacks.auto import auto_attack
from pipeline.study.attacks.pgd import Attack, draw_starts, draw_targets, perturb
from pipeline.study.attacks.truncation import GRADIENTS, Truncated
from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.progress import Progress, silent

TRANSFER = "transfer"  # images made for the network alone, classified behind truncation
DIRECT = "direct"  # images made for the network that classifies them
AUTO = "autoattack"  # the same, by AutoAttack, which has no target


@dataclass(frozen=True)
class Outcome:
    """The result of one attack on one classifier: a network, or a network behind truncation.

    Attributes:
        model: name of the network.
        rank: rank of truncation; None for no truncation.
        attack: ``direct``, ``transfer``, ``autoattack``, or the name of the gradient through the truncation (see
            ``GRADIENTS``). AutoAttack has the exact gradient.
        before, after: int64 (n,), the classifier's predictions of the images and of the adversarial images.
    """

    model: str
    rank: int | None
    attack: str
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Attacked:
    """All outcomes over the same images with the same targets.

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
    progress: Progress = silent,
) -> Attacked:
    """Attacks every network, alone and behind truncation to every rank.

    Behind truncation the classifier gets the images made for the network alone, and those of adaptive attacks with both
    gradients through the truncation.

    Args:
        ranks: ranks of truncation.
        batch: images at a time; it changes no target and no start.
        progress: called with the number of finished batches and of all batches.

    Raises:
        UsageError: no gradients flow through a network, or AutoAttack needs more classes.
        PipelineError: AutoAttack needs a package that is not installed.
    """
    for network in networks:
        network.check_gradients("an attack", images.size)
    targets = draw_targets(images.labels, len(images.classes), attack.seed)
    starts = draw_starts((len(images), 3, *images.size), attack)
    slices = [slice(start, start + batch) for start in range(0, len(images), batch)]
    predictions: dict[tuple[str, int | None, str], list[tuple[Tensor, Tensor]]] = {}
    for number, network in enumerate(networks):
        for done, rows in enumerate(slices, 1):
            pixels = torch.from_numpy(images.pixels[rows]).to(network.device)
            x = pixels.permute(0, 3, 1, 2).float().contiguous() / 255
            aims = torch.from_numpy(targets[rows]).to(network.device)
            noise = torch.from_numpy(starts[rows]).to(network.device)
            results = list(_attack_batch(network, x, aims, noise, attack, ranks))
            if attack.auto:
                labels = torch.from_numpy(images.labels[rows]).to(network.device)
                results += _auto_attack_batch(network, x, labels, len(images.classes), attack, ranks)
            for rank, name, before, after in results:
                predictions.setdefault((network.name, rank, name), []).append((before, after))
            progress(number * len(slices) + done, len(networks) * len(slices))
    outcomes = [
        Outcome(*key, *(torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True)))
        for key, batches in predictions.items()
    ]
    return Attacked(images, attack, targets, outcomes)


def _attack_batch(
    network: Network, x: Tensor, targets: Tensor, starts: Tensor, attack: Attack, ranks: Sequence[int]
) -> Iterator[tuple[int | None, str, Tensor, Tensor]]:
    """Yields rank, name of the attack, and the predictions before and after it."""
    adversarial = perturb(network, x, targets, starts, attack)
    yield None, DIRECT, _predict(network, x), _predict(network, adversarial)
    for rank in ranks:
        truncated = {gradient: Truncated(network, rank, gradient) for gradient in GRADIENTS}
        before = _predict(truncated[GRADIENTS[0]], x)
        yield rank, TRANSFER, before, _predict(truncated[GRADIENTS[0]], adversarial)
        for gradient, classifier in truncated.items():
            yield rank, gradient, before, _predict(classifier, perturb(classifier, x, targets, starts, attack))


def _auto_attack_batch(
    network: Network, x: Tensor, labels: Tensor, classes: int, attack: Attack, ranks: Sequence[int]
) -> Iterator[tuple[int | None, str, Tensor, Tensor]]:
    """Yields the same for AutoAttack on the network alone and, adaptively, behind each truncation."""
    for rank in (None, *ranks):
        classifier = network if rank is None else Truncated(network, rank, "exact")
        adversarial = auto_attack(classifier, x, labels, attack.eps, classes, attack.seed)
        yield rank, AUTO, _predict(classifier, x), _predict(classifier, adversarial)


@torch.no_grad()
def _predict(classifier: nn.Module, x: Tensor) -> Tensor:
    predicted: Tensor = classifier(x).argmax(1)
    return predicted
