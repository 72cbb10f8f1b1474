"""Targeted projected gradient descent in the L-infinity norm (Madry et al., 2018; section 5.3 of the paper)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Attack:
    """The parameters of an attack, in units of the image in [0, 1].

    Attributes:
        eps: largest change of a subpixel.
        steps: number of gradient steps.
        step_size: change of a subpixel in one step.
        seed: seed of targets and starts.
        auto: whether AutoAttack with the same ``eps`` follows, see ``auto.py``.
    """

    eps: float = 4 / 255
    steps: int = 20
    step_size: float = 1 / 255
    seed: int = 0
    auto: bool = False


def draw_targets(labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Returns a target per label, int64 (n,): another class, drawn uniformly. Targets do not depend on later labels."""
    shift = np.random.default_rng([seed, 0]).integers(1, classes, len(labels))
    return (labels + shift) % classes


def draw_starts(shape: tuple[int, ...], attack: Attack) -> np.ndarray:
    """Returns float32 of a shape, uniform in [-eps, eps]. Starts do not depend on the number of later images."""
    rng = np.random.default_rng([attack.seed, 1])
    return ((2 * rng.random(shape, np.float32) - 1) * attack.eps).astype(np.float32)


def perturb(network: nn.Module, x: Tensor, targets: Tensor, starts: Tensor, attack: Attack) -> Tensor:
    """Returns adversarial images, within eps of ``x`` and within [0, 1]: those after the last step.

    Each step moves every subpixel by ``step_size`` against the sign of the gradient of the cross-entropy to the targets.

    Args:
        network: takes float32 (n, 3, h, w) in [0, 1], normalises inside, returns logits; in evaluation mode.
        x: float32 (n, 3, h, w) in [0, 1].
        targets: int64 (n,).
        starts: float32, shaped as ``x``; added to ``x`` before the first step.
    """
    adversarial = (x + starts).clamp(0, 1)
    for _ in range(attack.steps):
        adversarial.requires_grad_(True)
        loss = F.cross_entropy(network(adversarial), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, adversarial)
        adversarial = adversarial.detach() - attack.step_size * gradient.sign()
        adversarial = torch.clamp(adversarial, x - attack.eps, x + attack.eps).clamp(0, 1)
    return adversarial.detach()
