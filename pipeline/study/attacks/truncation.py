"""A network behind rank truncation, differentiable so that an attack can adapt to it."""

from torch import Tensor, nn

from pipeline.transforms import RankTruncate

# The gradients of adaptive attacks, see ``pipeline.transforms``.
GRADIENTS = ("fixed", "exact")


class Truncated(nn.Module):
    """A network behind rank truncation: a defence.

    Args:
        network: takes float32 (n, 3, h, w) in [0, 1], returns logits.
        rank: at least 1; from min(h, w) on, images are not changed.
        gradient: of the truncation, see ``RankTruncate``.

    Raises:
        UsageError: the rank or the gradient is not as described.
    """

    def __init__(self, network: nn.Module, rank: int, gradient: str) -> None:
        super().__init__()
        self.network, self.truncate = network, RankTruncate(rank, gradient=gradient)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(self.truncate(x))
        return logits
