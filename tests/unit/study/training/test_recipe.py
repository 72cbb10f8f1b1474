"""The learning rates of both recipes, and the steps of the optimiser."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pipeline.study.training.recipe import RECIPES, Recipe, descent


def rates(recipe: Recipe, steps: int) -> list[float]:
    """Returns the learning rate of every step."""
    optimiser, schedule = descent(recipe, nn.Linear(2, 2), steps)
    values = []
    for _ in range(recipe.epochs * steps):
        values.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        schedule.step()
    return values


def test_the_paper_divides_by_10_after_epochs_150_and_250() -> None:
    paper = RECIPES["paper"]
    assert (paper.epochs, paper.lr, paper.momentum, paper.weight_decay, paper.batch) == (350, 0.1, 0.9, 5e-4, 128)
    expected = [0.1] * 150 * 3 + [0.01] * 100 * 3 + [0.001] * 100 * 3
    assert rates(paper, 3) == pytest.approx(expected)


def test_other_numbers_of_epochs_divide_in_proportion() -> None:
    assert rates(replace(RECIPES["paper"], epochs=7), 2) == pytest.approx([0.1] * 6 + [0.01] * 4 + [0.001] * 4)


def test_the_short_recipe_rises_for_30_per_cent_and_falls_to_nearly_0() -> None:
    values = rates(replace(RECIPES["short"], epochs=20, lr=0.4), 10)
    assert max(values) == pytest.approx(0.4)
    assert 50 <= values.index(max(values)) <= 60
    assert values[0] == pytest.approx(0.4 / 25)
    assert values[-1] < 1e-4 * 0.4
    assert values[60:] == sorted(values[60:], reverse=True)


def test_steps_are_sgd_with_momentum_and_weight_decay() -> None:
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(module.weight, 2.0)
    optimiser, _ = descent(Recipe("paper", 10, 0.1, momentum=0.5, weight_decay=0.25), module, 5)
    weight, speed = 2.0, 0.0
    for gradient in (1.0, -3.0, 0.5):
        module.weight.grad = torch.tensor([[gradient]], dtype=torch.float64)
        optimiser.step()
        speed = 0.5 * speed + gradient + 0.25 * weight
        weight -= 0.1 * speed
    assert module.weight.item() == pytest.approx(weight)
