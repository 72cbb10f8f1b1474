"""Integrated Gradients (Sundararajan et al. 2017), by Captum: the method with which the paper compares RIG."""

from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.study.attribution.gradients import Model


def require_captum() -> Any:
    """Returns the module ``captum.attr``. Raises UsageError if Captum is not installed."""
    try:
        from captum import attr
    except ImportError as error:
        raise UsageError(f"--integrated-gradients: {error}; pip install captum") from None
    return attr


def integrated_gradients(
    model: Model, x: Tensor, target: Tensor, reduce: str, output: str, internal_batch_size: int, steps: int
) -> Tensor:
    """Returns Integrated Gradients from a black image to ``x``, reduced over the channels.

    Args:
        model, x, target, reduce, output, internal_batch_size: see ``gradients.rig``.
        steps: number of images between black and ``x`` (Gauss-Legendre quadrature, Captum's default).

    Returns:
        float (n, h, w).
    """

    def score(images: Tensor) -> Tensor:
        logits = model(images)
        return logits.softmax(1) if output == "softmax" else logits

    method = require_captum().IntegratedGradients(score)
    attributed: Tensor = method.attribute(
        x, torch.zeros_like(x), target, n_steps=steps, internal_batch_size=max(internal_batch_size, len(x))
    )
    return (attributed if reduce == "max" else attributed.abs()).amax(1).to(x.dtype)
