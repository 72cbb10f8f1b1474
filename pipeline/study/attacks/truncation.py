"""Rank truncation as a differentiable layer in front of a network, so that an attack can adapt to it.

A_k = A P with P = V_k V_k^T, per channel (paper eq. 2). There are two gradients:

- ``fixed`` treats P as a constant: dA_k = dA P (backward pass differentiable approximation; Athalye et al., 2018). It is
  always stable, but ignores that the singular vectors change with the image.
- ``exact`` includes dP. Only pairs of a kept (i <= k) and a dropped (j > k) singular vector contribute:
  dP = sum_ij w_ij (v_j v_i^T + v_i v_j^T), w_ij = v_j^T (dA^T A + A^T dA) v_i / (s_i^2 - s_j^2). It has no bound
  where s_k = s_{k+1}, because A_k jumps there; pairs closer than ``GAP`` are ignored.
"""

from typing import Any

import torch
from torch import Tensor, nn

GRADIENTS = ("fixed", "exact")
# Pairs with (s_i^2 - s_j^2) / s_1^2 below this are ignored. Below about 1e-15, float64 eigenvectors are noise.
GAP = 1e-10


class _Cut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, planes: Tensor, rank: int, exact: bool) -> Tensor:
        squares, vectors = torch.linalg.eigh(planes.mT @ planes)  # ascending
        kept = vectors[..., -rank:]
        ctx.save_for_backward(planes, squares, vectors)
        ctx.rank, ctx.exact = rank, exact
        cut: Tensor = (planes @ kept) @ kept.mT
        return cut

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        planes, squares, vectors = ctx.saved_tensors
        (gradient,) = gradients
        dropped, kept = vectors[..., : -ctx.rank], vectors[..., -ctx.rank :]
        result = (gradient @ kept) @ kept.mT
        if ctx.exact:
            gaps = squares[..., None, -ctx.rank :] - squares[..., : -ctx.rank, None]  # (j, i)
            weights = torch.where(gaps > GAP * squares[..., -1:, None], 1 / gaps, 0.0)
            of_projector = planes.mT @ gradient
            rotation = dropped.mT @ (of_projector + of_projector.mT) @ kept
            inner = dropped @ (rotation * weights) @ kept.mT
            result = result + planes @ (inner + inner.mT)
        return result, None, None


def truncate(x: Tensor, rank: int, gradient: str = "fixed") -> Tensor:
    """Returns the rank-k approximation of every plane, unclipped. Computed in float64, because it squares singular values.

    Args:
        x: float (n, c, h, w).
        rank: at least 1; at min(h, w) or more the result is ``x``.
        gradient: one of ``GRADIENTS``.

    Returns:
        a tensor of ``x``'s shape and dtype.
    """
    if rank >= min(x.shape[-2:]):
        return x
    cut: Tensor = _Cut.apply(x.double(), rank, gradient == "exact")  # type: ignore[no-untyped-call]
    return cut.to(x.dtype)


class Truncated(nn.Module):
    """A network behind rank truncation: a defence, differentiable for adaptive attacks.

    Args:
        network: takes float32 (n, 3, h, w) in [0, 1], returns logits.
        rank, gradient: see ``truncate``.
    """

    def __init__(self, network: nn.Module, rank: int, gradient: str) -> None:
        super().__init__()
        self.network, self.rank, self.gradient = network, rank, gradient

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(truncate(x, self.rank, self.gradient))
        return logits
