"""Rank Integrated Gradients (equation 3 of the paper) and plain gradients of any torch classifier."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.study.options import check_choice

REDUCTIONS = ("max", "absmax")
OUTPUTS = ("softmax", "logit")
Model = Callable[[Tensor], Tensor]
Target = int | Tensor | None


def rig(
    model: Model,
    x: Tensor,
    target: Target = None,
    reduce: str = "max",
    output: str = "softmax",
    internal_batch_size: int = 128,
) -> Tensor:
    """Returns Rank Integrated Gradients: the sum over k = 1..w of (w - k)/w times the gradient at the rank-k image (eq. 3).

    w is the smaller side of the image. Each gradient is reduced over the channels, then weighted and summed. As in the
    paper, k = w (the image itself) has weight 0 and there is no factor 1/w. There is no baseline image and no difference of
    steps, so the maps do not sum to the output: unlike Integrated Gradients they have no completeness.

    Args:
        model: takes float images like ``x``, returns logits (n, classes); in evaluation mode.
        x: float (n, 3, h, w) in [0, 1]. Rank-k images are computed from its SVD in float64, neither rounded nor clipped.
        target: class to explain: one for all images, or int64 (n,); None for the top class of ``x``.
        reduce: over the channels: ``max``, the largest signed gradient, or ``absmax``, the largest absolute gradient.
        output: the function to differentiate: the target's ``softmax`` probability (the paper's f), or its ``logit``.
        internal_batch_size: rank-k images at a time.

    Returns:
        float (n, h, w), of x's dtype and device.

    Raises:
        UsageError: x is no float batch in [0, 1], the model is in training mode, or an option is unknown.
    """
    x, target = _check_arguments(model, x, target, reduce, output)
    total = torch.zeros_like(x[:, 0])
    for k, _, maps in along_ranks(model, x, target, reduce, output, internal_batch_size):
        total += weight(k, x) * maps
    return total


def weight(k: int, x: Tensor) -> float:
    """Returns the weight of the gradient at rank k in equation 3, (w - k)/w."""
    side = min(x.shape[2:])
    return (side - k) / side


def along_ranks(
    model: Model, x: Tensor, target: Tensor, reduce: str, output: str, batch: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields k, the rank-k images (n, 3, h, w) and the gradients there, reduced over the channels (n, h, w), for k = 1..w-1.

    Args:
        target: int64 (n,). The other arguments are those of ``rig``, already checked.
    """
    side = min(x.shape[2:])
    left, values, right = torch.linalg.svd(x.double(), full_matrices=False)
    left = left * values[..., None, :]
    ranks_per_batch = max(1, batch // len(x))
    for start in range(1, side, ranks_per_batch):
        ranks = range(start, min(start + ranks_per_batch, side))
        cuts = torch.cat([(left[..., :k] @ right[..., :k, :]).to(x.dtype) for k in ranks])
        maps = _gradients(model, cuts, target.repeat(len(ranks)), reduce, output, batch)
        yield from zip(ranks, torch.split(cuts, len(x)), torch.split(maps, len(x)), strict=True)


def vanilla(
    model: Model,
    x: Tensor,
    target: Target = None,
    reduce: str = "max",
    output: str = "softmax",
    internal_batch_size: int = 128,
) -> Tensor:
    """Returns the gradient at ``x`` itself, reduced over the channels. Arguments, result and errors as for ``rig``."""
    x, target = _check_arguments(model, x, target, reduce, output)
    return _gradients(model, x, target, reduce, output, internal_batch_size)


def check_options(reduce: str, output: str) -> None:
    """Raises UsageError for an unknown option."""
    check_choice("reduce", reduce, REDUCTIONS)
    check_choice("output", output, OUTPUTS)


def _check_arguments(model: Model, x: Tensor, target: Target, reduce: str, output: str) -> tuple[Tensor, Tensor]:
    """Returns the images without gradients, and the target of each image, int64 (n,)."""
    check_options(reduce, output)
    if x.ndim != 4 or not x.is_floating_point():
        raise UsageError(f"x is {x.dtype} {tuple(x.shape)}: give float images (n, 3, h, w) in [0, 1]")
    x = x.detach()
    if x.numel() and (x.min() < 0 or x.max() > 1):
        raise UsageError(
            f"x has values from {float(x.min()):g} to {float(x.max()):g}: give images in [0, 1]; the model normalises them"
        )
    if getattr(model, "training", False):
        raise UsageError("the model is in training mode: call model.eval() first")
    if target is None:
        with torch.no_grad():
            target = model(x).argmax(1)
    return x, torch.as_tensor(target, device=x.device).expand(len(x))


def _gradients(model: Model, x: Tensor, target: Tensor, reduce: str, output: str, batch: int) -> Tensor:
    """Returns the gradients of the target's output, reduced over the channels, (n, h, w)."""
    parts = []
    for start in range(0, len(x), batch):
        part = x[start : start + batch].clone().requires_grad_()
        classes = target[start : start + batch, None]
        logits = model(part)
        score, slope = _log_odds(logits, classes) if output == "softmax" else (logits.gather(1, classes), None)
        [gradient] = torch.autograd.grad(score.sum(), part)
        reduced = (gradient if reduce == "max" else gradient.abs()).amax(1)
        parts.append(reduced if slope is None else reduced * slope[:, :, None])
    return torch.cat(parts)


def _log_odds(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Returns m = log(p / (1 - p)) of the softmax probability p of each class, (n, 1), and dp/dm = p (1 - p), (n, 1).

    The gradient of p is p (1 - p) times the gradient of m. Torch's own softmax gradient subtracts a rounded p from 1: in
    float32 that difference is 0 from p = 1 - 3e-8 on, and only the gradients of the other classes would be left.
    """
    is_target = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, classes, True)
    others = logits.masked_fill(is_target, torch.finfo(logits.dtype).min).logsumexp(1, keepdim=True)
    odds = logits.gather(1, classes) - others
    return odds, odds.detach().sigmoid() * (-odds.detach()).sigmoid()
