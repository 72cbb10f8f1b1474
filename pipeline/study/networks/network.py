"""The class ``Network``: a classifier of images in [0, 1] that normalises its input itself."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import UsageError, one_line
from pipeline.study.networks.cifar import Triple

IDENTITY: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and std that change nothing


class Network(nn.Module):
    """A classifier of images in [0, 1]. It normalises them before it calls ``module``.

    Args:
        module: takes normalised float32 (n, 3, h, w), returns logits (n, classes).
        name: name in figures and tables.
        mean, std: per channel, in units of the image in [0, 1].
        size: (height, width) of the input in pixels; None for any.
        differentiable: whether gradients flow through the module.

    Attributes:
        name, size, differentiable: the arguments.
        input_size: side of the square to which images are resized first, in pixels; None keeps their size.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        mean: Triple = IDENTITY[0],
        std: Triple = IDENTITY[1],
        size: tuple[int, int] | None = None,
        differentiable: bool = True,
    ) -> None:
        super().__init__()
        self.module, self.name, self.size, self.differentiable = module, name, size, differentiable
        self.input_size: int | None = None
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return self.mean.device

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits float32 (n, classes) of float32 (n, 3, h, w). Values outside [0, 1] are allowed.

        Raises:
            UsageError: the network does not accept images of this size.
        """
        if self.input_size and x.ndim == 4 and x.shape[2:] != (self.input_size, self.input_size):
            x = resize(x, self.input_size)
        self.check_shape(tuple(x.shape))
        logits: Tensor = self.module((x - self.mean) / self.std)
        return logits

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raises UsageError unless the network accepts arrays of this shape."""
        if len(shape) != 4 or shape[1] != 3:
            raise UsageError(f"{self.name} takes images as (n, 3, height, width), not {shape}")
        if self.size and shape[2:] != self.size:
            actual, expected = (" x ".join(map(str, size)) for size in (shape[2:], self.size))
            raise UsageError(
                f"{self.name} takes images of {expected} pixels, these have {actual}: use --input-size, or --resize, "
                "in the build or here"
            )

    def outputs(self, size: tuple[int, int]) -> int:
        """Returns the number of logits, measured on a ramp from black to white.

        Args:
            size: (height, width) of the ramp in pixels.

        Raises:
            UsageError: the network fails on it, or its result is no array of logits.
        """
        ramp = torch.linspace(0, 1, 3 * size[0] * size[1], device=self.device).view(1, 3, *size)
        with torch.no_grad():
            try:
                logits = self(ramp)
            except UsageError:
                raise
            except Exception as error:  # the module may be the user's code, which may raise anything
                reason = f"{type(error).__name__}: {one_line(error)[:200]}"
                raise UsageError(f"{self.name} cannot take images of {size[0]} x {size[1]} pixels: {reason}") from None
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise UsageError(f"{self.name} does not return logits (n, classes)")
        if logits.isnan().any():
            raise UsageError(f"{self.name} returns NaN instead of logits: its weights are broken")
        return logits.shape[1]

    def check_classes(self, size: tuple[int, int], classes: int) -> None:
        """Raises UsageError unless the network has one output per class of the images.

        Args:
            size: (height, width) of the images in pixels.
            classes: number of classes of the images.
        """
        outputs = self.outputs(size)
        if outputs != classes:
            advice = "; --classes gives them the labels of a list, such as imagenet" if outputs > classes else ""
            raise UsageError(f"{self.name} predicts {outputs:,} classes, but the images have {classes:,}{advice}")

    def check_gradients(self, experiment: str, size: tuple[int, int]) -> None:
        """Raises UsageError if no gradients flow through the network, tried on a black image of ``size``."""
        if not self.differentiable:
            raise UsageError(f"{experiment} needs gradients, but {self.name} has none (ONNX runs forward only)")
        if not self(torch.zeros(1, 3, *size, device=self.device, requires_grad=True)).requires_grad:
            raise UsageError(f"{experiment} needs gradients, but {self.name} detaches its input from them")


def resize(x: Tensor, side: int) -> Tensor:
    """Returns images of ``side`` x ``side`` pixels: bilinear, with antialiasing, differentiable.

    Args:
        x: float (n, 3, h, w).
    """
    return F.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)
