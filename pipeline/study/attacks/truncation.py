"""Rank truncation inside a network, with a gradient, so that an attack can adapt to it.

A_k = A P with P = V_k V_k^T, per channel (paper eq. 2). Two gradients are offered:

- ``fixed``: P is taken for a constant, dA_k = dA P (backward pass differentiable approximation; Athalye et al., 2018).
  It is stable always and leaves out that the singular vectors turn with the image.
- ``exact``: with dP too. Of all pairs of singular vectors only those of one kept (i <= k) and one dropped (j > k) matter:
  dP = sum_ij w_ij (v_j v_i^T + v_i v_j^T), w_ij = v_j^T (dA^T A + A^T dA) v_i / (s_i^2 - s_j^2). It grows without bound
  where s_k = s_{k+1}, at which A_k jumps; pairs closer than ``GAP`` are left out.
"""

from typing import Any

import torch
from torch import Tensor, nn

GRADIENTS = ("fixed", "exact")
# s_i^2 - s_j^2 over s_1^2, below which a pair does not count; float64's eigenvectors are noise from about 1e-15 on.
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
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None, None]:
        planes, squares, vectors = ctx.saved_tensors
        (gradient,) = given
        dropped, kept = vectors[..., : -ctx.rank], vectors[..., -ctx.rank :]
        result = (gradient @ kept) @ kept.mT
        if ctx.exact:
            gaps = squares[..., None, -ctx.rank :] - squares[..., : -ctx.rank, None]  # (j, i)
            weights = torch.where(gaps > GAP * squares[..., -1:, None], 1 / gaps, 0.0)
            of_projector = planes.mT @ gradient
            turned = dropped.mT @ (of_projector + of_projector.mT) @ kept
            inner = dropped @ (turned * weights) @ kept.mT
            result = result + planes @ (inner + inner.mT)
        return result, None, None


def truncate(x: Tensor, rank: int, gradient: str = "fixed") -> Tensor:
    """Every plane's rank-k approximation, unclipped; computed in float64, as the singular values' squares need.

    Args:
        x: float (n, c, h, w).
        rank: from 1; at min(h, w) or more this is ``x``.
        gradient: of ``GRADIENTS``.

    Returns:
        of ``x``'s shape and dtype.
    """
    if rank >= min(x.shape[-2:]):
        return x
    cut: Tensor = _Cut.apply(x.double(), rank, gradient == "exact")  # type: ignore[no-untyped-call]
    return cut.to(x.dtype)


class Truncated(nn.Module):
    """A network behind rank truncation: a defence, and what an adaptive attack sees.

    Args:
        network: takes float32 (n, 3, h, w) in [0, 1], gives logits.
        rank, gradient: see ``truncate``.
    """

    def __init__(self, network: nn.Module, rank: int, gradient: str) -> None:
        super().__init__()
        self.network, self.rank, self.gradient = network, rank, gradient

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(truncate(x, self.rank, self.gradient))
        return logits
