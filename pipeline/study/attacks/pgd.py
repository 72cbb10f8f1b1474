"""Targeted projected gradient descent in the L-infinity norm (Madry et al., 2018; the paper's section 5.3)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Attack:
    """An attack's numbers, in units of the image in [0, 1].

    Attributes:
        eps: largest change of a subpixel.
        steps: gradient steps.
        step_size: of each.
        seed: of targets and starts.
    """

    eps: float = 4 / 255
    steps: int = 20
    step_size: float = 1 / 255
    seed: int = 0


def draw_targets(labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """int64 (n,): for each label one of the other classes, uniformly. More images leave the first ones as they are."""
    shift = np.random.default_rng([seed, 0]).integers(1, classes, len(labels))
    return (labels + shift) % classes


def draw_starts(shape: tuple[int, ...], attack: Attack) -> np.ndarray:
    """float32 of a shape, uniform in -eps..eps. More images leave the first ones as they are."""
    draw = np.random.default_rng([attack.seed, 1])
    return ((2 * draw.random(shape, np.float32) - 1) * attack.eps).astype(np.float32)


def perturb(network: nn.Module, x: Tensor, targets: Tensor, starts: Tensor, attack: Attack) -> Tensor:
    """Images within eps of ``x`` and within [0, 1] that the network is to take for the targets: those after the last step.

    Each step moves every subpixel by ``step_size`` against the sign of the gradient of the targets' cross-entropy.

    Args:
        network: takes float32 (n, 3, h, w) in [0, 1], its normalisation inside, gives logits; in evaluation mode.
        x: float32 (n, 3, h, w) in [0, 1].
        targets: int64 (n,).
        starts: float32 as ``x``, added to it before the first step.
    """
    moved = (x + starts).clamp(0, 1)
    for _ in range(attack.steps):
        moved.requires_grad_(True)
        loss = F.cross_entropy(network(moved), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = moved.detach() - attack.step_size * gradient.sign()
        moved = torch.clamp(moved, x - attack.eps, x + attack.eps).clamp(0, 1)
    return moved.detach()
