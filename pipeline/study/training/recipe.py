"""Training recipes: the paper's (section 5.1) and a short one."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

# Where the paper divides the learning rate by 10, as shares of all epochs.
_MILESTONES = (150 / 350, 250 / 350)


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum.

    Attributes:
        name: ``paper``: the rate is divided by 10 after 3/7 and 5/7 of the epochs; ``short``: one cycle, which rises
            for the first 30 % of the steps and falls to nearly zero (Smith's, torch's ``OneCycleLR``).
        epochs: passes over the training images.
        lr: learning rate; for ``short`` the maximum.
        batch: images per step; an incomplete last batch of an epoch is dropped.
    """

    name: str
    epochs: int
    lr: float
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4


# The paper does not state the batch size. 128 and the short recipe are our choices.
RECIPES = {"paper": Recipe("paper", 350, 0.1), "short": Recipe("short", 15, 0.1)}


class Descent(NamedTuple):
    """An optimiser and the schedule of its learning rate, which steps once per batch."""

    optimiser: torch.optim.SGD
    schedule: LRScheduler


def descent(recipe: Recipe, module: nn.Module, steps: int) -> Descent:
    """Returns optimiser and schedule for a module.

    Args:
        steps: batches per epoch.
    """
    optimiser = torch.optim.SGD(
        module.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    total = recipe.epochs * steps
    if recipe.name == "short":
        return Descent(optimiser, OneCycleLR(optimiser, recipe.lr, total_steps=total, cycle_momentum=False))
    return Descent(optimiser, MultiStepLR(optimiser, [round(share * total) for share in _MILESTONES], 0.1))
