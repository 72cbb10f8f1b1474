"""How networks are trained: the paper's recipe (section 5.1) and a short one."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

# Where the paper lowers the rate, of its 350 epochs: kept in proportion for other numbers.
_TENTHS = (150 / 350, 250 / 350)


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum.

    Attributes:
        name: ``paper``: a rate divided by 10 at 3/7 and 5/7 of the epochs; ``short``: one cycle, up to the rate over
            the first 30 % of the steps and down to nearly zero (Smith's, as in torch's ``OneCycleLR``).
        epochs: passes over the training images.
        lr: the learning rate, in ``short`` the highest.
        batch: images a step; the last ones of an epoch that fill none are left for the next.
    """

    name: str
    epochs: int
    lr: float
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4


# The paper names no batch size: 128 is ours, as is the whole short recipe.
RECIPES = {"paper": Recipe("paper", 350, 0.1), "short": Recipe("short", 15, 0.1)}


class Descent(NamedTuple):
    """An optimiser and the schedule of its rate, which steps once a batch."""

    optimiser: torch.optim.SGD
    schedule: LRScheduler


def descent(recipe: Recipe, module: nn.Module, steps: int) -> Descent:
    """Optimiser and schedule for a network.

    Args:
        steps: batches of an epoch.
    """
    optimiser = torch.optim.SGD(
        module.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    total = recipe.epochs * steps
    if recipe.name == "short":
        return Descent(optimiser, OneCycleLR(optimiser, recipe.lr, total_steps=total, cycle_momentum=False))
    return Descent(optimiser, MultiStepLR(optimiser, [round(part * total) for part in _TENTHS], 0.1))
