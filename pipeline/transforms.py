"""Rank truncation as a transform of tensors and PIL images, and as a differentiable function.

A_k is the sum of the k largest singular triplets of a plane (paper eq. 2). It is A P, with P = V_k V_k^T, or P A, with
P = U_k U_k^T, of a plane that is wider than it is high. There are three gradients:

- ``exact`` is the derivative, with that of P. Only pairs of a kept (i <= k) and a dropped (j > k) singular vector count:
  dP = sum_ij w_ij (v_j v_i^T + v_i v_j^T), w_ij = v_j^T (dA^T A + A^T dA) v_i / (s_i^2 - s_j^2). It has no bound
  where s_k = s_{k+1}, because A_k jumps there; pairs closer than ``GAP`` are ignored.
- ``fixed`` treats P as a constant: dA_k = dA P (backward pass differentiable approximation; Athalye et al., 2018). It is
  always stable, but ignores that the singular vectors change with the image.
- ``straight-through`` treats the whole transform as the identity (Bengio et al., 2013).
"""

from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import UsageError, nearest, one_line
from pipeline.extras import optional_import
from pipeline.numerics import cpu, rounding, svd
from pipeline.numerics.geometry import MAX_SIDE
from pipeline.numerics.runtime import prepare_loader_worker
from pipeline.numerics.variants import OFFSET

with optional_import():
    import torch
    from torch import Tensor, nn
    from torch.autograd.function import once_differentiable

COMPONENTS = ("low", "high")
GRADIENTS = ("exact", "fixed", "straight-through")
# Pairs with (s_i^2 - s_j^2) / s_1^2 below this are ignored. Below about 1e-15, float64 eigenvectors are noise.
GAP = 1e-10
_PIXELS = 1 << 18  # that the compiled kernels get at once; their results then fit a core's cache


class RankTruncate(nn.Module):
    """Replaces an image by its low-rank or high-rank-only image, in the manner of torchvision's v2 transforms.

    - uint8 tensors become the grey levels that a build stores: rounded, clipped, ``high`` with the offset of 128. On a CPU,
      the build's own kernels compute them. On a CUDA GPU, torch computes them in float64, and the CPU's kernels compute the
      planes whose grey levels could differ: those with close singular values, or with a value close to a rounding tie.
    - PIL images of mode RGB or L become PIL images with the same grey levels.
    - Float tensors become A_k or A - A_k, neither rounded nor clipped, ``high`` signed and without an offset, as in the
      variants ``-exact``. They are decomposed in float64 and have the dtype of the input.

    From rank min(h, w) on, ``low`` is the image itself.

    Args:
        rank: a rank; or (lowest, highest), or a ``range``, from which each call draws one rank for all its images, each rank
            with the same probability, from torch's default generator. ``torch.manual_seed`` and a DataLoader seed it.
        component: ``low`` or ``high``.
        gradient: one of ``GRADIENTS``, for float tensors that require a gradient.

    Raises:
        UsageError: an argument is not as described.
    """

    def __init__(self, rank: int | tuple[int, int] | range, component: str = "low", gradient: str = "exact") -> None:
        super().__init__()
        self.ranks = _ranks(rank)
        self.component = _chosen("component", component, COMPONENTS)
        self.gradient = _chosen("gradient", gradient, GRADIENTS)

    def forward(self, image: Any, *others: Any) -> Any:
        """Returns the transformed image; with further arguments, such as a label, a tuple of it and these.

        Args:
            image: tensor (..., h, w), uint8 or floating point; or a PIL image.
            others: returned unchanged.

        Raises:
            UsageError: the image is of another type, dtype or size, or its values are not finite.
        """
        rank = self.ranks[int(torch.randint(len(self.ranks), ()))] if len(self.ranks) > 1 else self.ranks[0]
        transformed = self._of_pil(image, rank) if isinstance(image, Image.Image) else self._of_tensor(image, rank)
        return (transformed, *others) if others else transformed

    def extra_repr(self) -> str:
        first, last = self.ranks[0], self.ranks[-1]
        step = abs(self.ranks.step)
        rank = first if first == last else (first, last) if step == 1 else self.ranks
        return f"rank={rank}, component={self.component!r}, gradient={self.gradient!r}"

    def _of_pil(self, image: Image.Image, rank: int) -> Image.Image:
        if image.mode not in ("RGB", "L"):
            raise UsageError(f"image: a PIL image of mode {image.mode}: convert it to RGB or L first")
        pixels = np.asarray(image)
        planes = torch.from_numpy(np.array(pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]))
        stored = self._of_tensor(planes, rank).numpy()
        return Image.fromarray(np.ascontiguousarray(stored.transpose(1, 2, 0)) if pixels.ndim == 3 else stored[0])

    def _of_tensor(self, image: Any, rank: int) -> Tensor:
        if not isinstance(image, Tensor):
            raise UsageError(f"image: {type(image).__name__} is neither a tensor (..., h, w) nor a PIL image")
        if image.is_floating_point():
            truncated = truncate(image.as_subclass(Tensor), rank, self.gradient, self.component)
        elif image.dtype == torch.uint8:
            truncated = stored(image.as_subclass(Tensor), rank, self.component)
        else:
            raise UsageError(f"image: {image.dtype} is neither uint8 grey levels nor floating point")
        plain = type(image) in (Tensor, nn.Parameter)
        return truncated if plain else truncated.as_subclass(type(image))  # torchvision's tv_tensors


def _ranks(rank: Any) -> range:
    if isinstance(rank, int | np.integer) and not isinstance(rank, bool):
        ranks = range(int(rank), int(rank) + 1)
    elif isinstance(rank, range):
        ranks = rank
    elif isinstance(rank, tuple) and len(rank) == 2 and all(type(end) is int for end in rank):
        ranks = range(rank[0], rank[1] + 1)
    else:
        raise UsageError(f"rank: {one_line(repr(rank))}: give a whole number, or (lowest, highest)")
    if not ranks:
        raise UsageError(f"rank: {rank} holds no rank; write (lowest, highest)")
    least, most = sorted((ranks[0], ranks[-1]))
    if least < 1:
        raise UsageError(f"rank: {least} is too small, the least is 1")
    if most > MAX_SIDE:
        raise UsageError(f"rank: {most} is too large, the most is {MAX_SIDE:,}, the largest side of an image")
    return ranks


def _chosen(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        hint = nearest(value, allowed) if isinstance(value, str) else ""
        raise UsageError(f"{name}: {one_line(repr(value))} is not one of {', '.join(allowed)}{hint}")
    return str(value)


def _checked(planes: Tensor) -> Tensor:
    if planes.ndim < 2 or not 0 < min(planes.shape[-2:]) <= max(planes.shape[-2:]) <= MAX_SIDE:
        raise UsageError(f"image: {tuple(planes.shape)} is not (..., h, w) with sides from 1 to {MAX_SIDE:,} pixels")
    return planes


def truncate(x: Tensor, rank: int, gradient: str = "exact", component: str = "low") -> Tensor:
    """Returns A_k or A - A_k of every plane, neither rounded nor clipped. It is computed in float64.

    Args:
        x: floating-point tensor (..., h, w).
        rank: at least 1; from min(h, w) on, A_k is ``x``.
        gradient: one of ``GRADIENTS``.
        component: ``low`` for A_k, ``high`` for A - A_k.

    Returns:
        a tensor of ``x``'s shape, dtype and device.

    Raises:
        UsageError: an argument is not as described, or ``x`` has values that are not finite.
    """
    (rank,) = _ranks(rank)
    gradient, component = _chosen("gradient", gradient, GRADIENTS), _chosen("component", component, COMPONENTS)
    if not x.is_floating_point():
        raise UsageError(f"image: {x.dtype} is not floating point; divide grey levels by 255")
    if rank >= min(_checked(x).shape[-2:]) and component == "low":
        return x
    truncated: Tensor = _Truncate.apply(x.double(), rank, gradient, component)  # type: ignore[no-untyped-call]
    return truncated.to(x.dtype)


class _Truncate(torch.autograd.Function):
    """``truncate`` in float64."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rank: int, gradient: str, component: str) -> Tensor:
        ctx.rank, ctx.gradient, ctx.component = min(rank, *x.shape[-2:]), gradient, component
        low, squares, vectors = _cut(x, ctx.rank)
        if gradient != "straight-through":
            ctx.save_for_backward(x, squares, vectors)
        return low if component == "low" else x - low

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.gradient == "straight-through":
            return gradient, None, None, None
        x, squares, vectors = ctx.saved_tensors
        wide = x.shape[-1] > x.shape[-2]
        planes, upstream = (x.mT, gradient.mT) if wide else (x, gradient)
        low = _backward(planes, upstream, squares, vectors, ctx)
        low = low.mT if wide else low
        return low if ctx.component == "low" else gradient - low, None, None, None


def _cut(x: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns A_k of float64 planes, and the eigenvalues, ascending, and eigenvectors of their smaller Gram matrices."""
    wide = x.shape[-1] > x.shape[-2]
    planes = x.mT if wide else x
    squares, vectors = _eigenpairs(planes)
    kept = vectors[..., -rank:]
    low = (planes @ kept) @ kept.mT
    return low.mT if wide else low, squares, vectors


def _eigenpairs(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the eigenvalues, ascending, and eigenvectors of A^T A of planes with h >= w."""
    gram = planes.mT @ planes
    if not torch.isfinite(gram).all():  # eigh notices it in small matrices only
        if torch.isfinite(planes).all():
            raise UsageError("image: its values are too large: their squares overflow float64")
        raise UsageError("image: it has values that are not finite (NaN or infinity)")
    squares, vectors = torch.linalg.eigh(gram)
    return squares, vectors


def _backward(planes: Tensor, gradient: Tensor, squares: Tensor, vectors: Tensor, ctx: Any) -> Tensor:
    """Returns the gradient through A_k of planes with h >= w."""
    dropped, kept = vectors[..., : -ctx.rank], vectors[..., -ctx.rank :]
    result: Tensor = (gradient @ kept) @ kept.mT
    if ctx.gradient == "exact":
        gaps = squares[..., None, -ctx.rank :] - squares[..., : -ctx.rank, None]  # (j, i)
        weights = torch.where(gaps > GAP * squares[..., -1:, None], 1 / gaps, 0.0)
        of_projector = planes.mT @ gradient
        rotation = dropped.mT @ (of_projector + of_projector.mT) @ kept
        inner = dropped @ (rotation * weights) @ kept.mT
        result = result + planes @ (inner + inner.mT)
    return result


def stored(pixels: Tensor, rank: int, component: str = "low") -> Tensor:
    """Returns the grey levels that a build stores: clip(R, 0, 255), or clip(X - R + 128, 0, 255), R = rint(255 A_k).

    Args:
        pixels: uint8 (..., h, w), on a CPU or a CUDA GPU.
        rank: at least 1.
        component: ``low`` or ``high``.

    Raises:
        UsageError: the shape is another one.
    """
    planes = _checked(pixels).reshape(-1, *pixels.shape[-2:])
    if rank >= min(planes.shape[1:]) or not len(planes):
        return pixels.clone() if component == "low" else torch.full_like(pixels, OFFSET)
    levels = stored_on_gpu(planes, rank, component) if pixels.is_cuda else _on_cpu(planes, rank, component)
    return levels.reshape(pixels.shape)


def _on_cpu(pixels: Tensor, rank: int, component: str) -> Tensor:
    prepare_loader_worker()
    planes = pixels.cpu().numpy()
    levels = np.empty(planes.shape, np.uint8)
    count = max(8, _PIXELS // planes[0].size)
    for start in range(0, len(planes), count):
        block = planes[start : start + count]
        rounded = cpu.solve(block, (rank,)).truncated(rank).rounded
        low = component == "low"
        levels[start : start + count] = (
            rounding.clip(rounded) if low else rounding.difference(block, rounded, OFFSET)
        ).pixels
    return torch.from_numpy(levels).to(pixels.device)


def stored_on_gpu(pixels: Tensor, rank: int, component: str) -> Tensor:
    """Computes ``stored`` of (p, h, w) by torch's operations in float64, on the tensor's device.

    The CPU's kernels compute the planes whose grey levels could differ: those where the error of A_k may exceed
    ``svd.MAX_ERROR`` (``svd.doubtful``), or where a value is that close to a rounding tie.
    """
    x = pixels.double()
    cut, squares, _ = _cut(x, rank)
    rounded = cut.round()  # halves to even
    levels: Tensor = (rounded if component == "low" else x - rounded + OFFSET).clip(0, 255).to(torch.uint8)
    margins = 0.5 - (cut - rounded).abs().amax(dim=(1, 2))
    values = svd.roots(squares.cpu().numpy()[:, ::-1])
    doubtful = svd.doubtful(values[:, 0], values[:, rank - 1], values[:, rank], values.shape[1])
    doubtful |= margins.cpu().numpy() < svd.MAX_ERROR
    if doubtful.any():
        chosen = torch.from_numpy(np.flatnonzero(doubtful)).to(pixels.device)
        levels[chosen] = _on_cpu(pixels[chosen], rank, component)
    return levels
