"""Rank Integrated Gradients and plain gradients as arrays: equation 3 of the paper."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UsageError, nearest
from pipeline.study.inputs import Images
from pipeline.study.networks.load import Network

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
    """Rank Integrated Gradients: sum over k = 1..w of (w - k)/w times the gradient at the rank-k image (eq. 3).

    w is the smaller side. Each gradient is reduced over the channels first, then weighed and summed. As the paper has it,
    k = w (the image itself) weighs nothing and there is no 1/w; nor is there a baseline image or the difference of steps,
    so the maps do not add up to the output: they have no completeness, whatever the name suggests.

    Args:
        model: takes float images like ``x``, gives logits (n, classes); in evaluation mode.
        x: float (n, 3, h, w) in [0, 1]. Rank-k images come from its SVD in float64, neither rounded nor clipped.
        target: class to explain, one for all or int64 (n,); None for the top class of ``x`` itself.
        reduce: ``max``, the largest signed gradient over the channels, or ``absmax``, the largest absolute one.
        output: what is differentiated: the target's ``softmax`` probability (the paper's f), or its ``logit``.
        internal_batch_size: rank images at a time.

    Returns:
        (n, h, w), of x's dtype and device.

    Raises:
        UsageError: x is no float batch in [0, 1], the model is in training mode, or an option is unknown.
    """
    x, target = _checked(model, x, target, reduce, output)
    side = min(x.shape[2:])
    left, values, right = torch.linalg.svd(x.double(), full_matrices=False)
    left = left * values[..., None, :]
    total = torch.zeros_like(x[:, 0])
    each = max(1, internal_batch_size // len(x))
    for start in range(1, side, each):
        ranks = range(start, min(start + each, side))
        cuts = torch.cat([(left[..., :k] @ right[..., :k, :]).to(x.dtype) for k in ranks])
        maps = _gradients(model, cuts, target.repeat(len(ranks)), reduce, output, internal_batch_size)
        weights = torch.tensor([(side - k) / side for k in ranks], dtype=x.dtype, device=x.device)
        total += torch.einsum("k,knhw->nhw", weights, maps.view(len(ranks), *total.shape))
    return total


def vanilla(
    model: Model,
    x: Tensor,
    target: Target = None,
    reduce: str = "max",
    output: str = "softmax",
    internal_batch_size: int = 128,
) -> Tensor:
    """The gradient at ``x`` itself, reduced as ``rig`` does. Arguments, result and errors as ``rig``."""
    x, target = _checked(model, x, target, reduce, output)
    return _gradients(model, x, target, reduce, output, internal_batch_size)


def check(reduce: str, output: str) -> None:
    """Raise UsageError for an unknown option."""
    for what, given, allowed in (("reduce", reduce, REDUCTIONS), ("output", output, OUTPUTS)):
        if given not in allowed:
            raise UsageError(f"{what} {given!r}: there are {' and '.join(allowed)}{nearest(given, allowed)}")


def _checked(model: Model, x: Tensor, target: Target, reduce: str, output: str) -> tuple[Tensor, Tensor]:
    check(reduce, output)
    if x.ndim != 4 or not x.is_floating_point():
        raise UsageError(f"x is {x.dtype} {tuple(x.shape)}: give float images (n, 3, h, w) in [0, 1]")
    x = x.detach()
    if x.numel() and (x.min() < 0 or x.max() > 1):
        least, most = float(x.min()), float(x.max())
        raise UsageError(
            f"x reaches from {least:g} to {most:g}: give images in [0, 1], not normalised; the model does that"
        )
    if getattr(model, "training", False):
        raise UsageError("the model is in training mode: call model.eval() first")
    if target is None:
        with torch.no_grad():
            target = model(x).argmax(1)
    return x, torch.as_tensor(target, device=x.device).expand(len(x))


def _gradients(model: Model, x: Tensor, target: Tensor, reduce: str, output: str, batch: int) -> Tensor:
    """(n, h, w): gradients of the target's output, reduced over the channels."""
    parts = []
    for start in range(0, len(x), batch):
        part = x[start : start + batch].clone().requires_grad_()
        aim = target[start : start + batch]
        logits = model(part)
        score, slope = _log_odds(logits, aim) if output == "softmax" else (logits.gather(1, aim[:, None])[:, 0], None)
        [gradient] = torch.autograd.grad(score.sum(), part)
        reduced = (gradient if reduce == "max" else gradient.abs()).amax(1)
        parts.append(reduced if slope is None else reduced * slope[:, None, None])
    return torch.cat(parts)


def _log_odds(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """m = log(p / (1 - p)) of the target's softmax p, (n,), and p (1 - p), (n,): the gradient of p is that times m's.

    The gradient that torch has of a softmax subtracts a rounded p from 1: in float32 nothing is left of that from
    p = 1 - 3e-8 on, and of the map no more than the other classes' part.
    """
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, target[:, None], True)
    others = logits.masked_fill(own, torch.finfo(logits.dtype).min).logsumexp(1)
    odds = logits.gather(1, target[:, None])[:, 0] - others
    return odds, odds.detach().sigmoid() * (-odds.detach()).sigmoid()


def maps_file(name: str) -> str:
    """Where the maps of a network go; two networks may have names that come to the same."""
    return f"maps-{''.join(c if c.isalnum() or c in '-_.' else '_' for c in name)}.npz"


@dataclass(frozen=True)
class Maps:
    """What one network's gradients show of some images.

    Attributes:
        name: the network's.
        target: int64 (n,), top class at full rank.
        probability: float32 (n,), of that class.
        rig, vanilla: float32 (n, h, w).
    """

    name: str
    target: np.ndarray
    probability: np.ndarray
    rig: np.ndarray
    vanilla: np.ndarray

    @property
    def correlation(self) -> np.ndarray:
        """float64 (n,): Pearson's, of RIG and plain gradients over the pixels of each image; NaN where either is flat."""
        pairs = zip(self.rig, self.vanilla, strict=True)
        with np.errstate(invalid="ignore"):
            return np.array([np.corrcoef(one.ravel(), two.ravel())[0, 1] for one, two in pairs])

    def rows(self, images: Images) -> Iterator[dict[str, Any]]:
        """A row per image, for a table."""
        for i, (key, correlation) in enumerate(zip(images.keys, self.correlation.tolist(), strict=True)):
            row = {"model": self.name, "key": key, "label": images.classes[images.labels[i]]}
            row |= {"target": int(self.target[i]), "probability": float(self.probability[i])}
            for what, array in (("rig", self.rig[i]), ("vanilla", self.vanilla[i])):
                row |= {f"{what} sum": float(array.sum()), f"{what} max": float(array.max())}
            yield row | {"correlation": correlation}


def explain(network: Network, images: Images, reduce: str, output: str, batch: int = 128) -> Maps:
    """RIG and plain gradients of a network's own top classes."""
    device = network.mean.device
    x = torch.from_numpy(images.pixels.transpose(0, 3, 1, 2).copy()).to(device, torch.float32) / 255
    with torch.no_grad():
        probability, target = network(x).softmax(1).max(1)
    how = partial(_on_host, network, x, target, reduce, output, batch)
    return Maps(network.name, target.cpu().numpy(), probability.cpu().numpy(), how(rig), how(vanilla))


def _on_host(
    network: Network, x: Tensor, target: Tensor, reduce: str, output: str, batch: int, maps: Callable[..., Tensor]
) -> np.ndarray:
    on_host: np.ndarray = maps(network, x, target, reduce, output, batch).cpu().numpy()
    return on_host
