"""A network that learns CIFAR-10 in minutes on two CPU cores: ``pipeline.study.networks.small:small_cnn``."""

from torch import nn


def small_cnn(classes: int = 10) -> nn.Module:
    """Returns an untrained network for images of any size: float32 (n, 3, h, w) to logits (n, classes).

    Four 3x3 convolutions with batch norm, of 24, 48, 96 and 96 channels, three of them with stride 2; then global average
    pooling and one linear layer.
    """
    widths = ((3, 24, 2), (24, 48, 1), (48, 96, 2), (96, 96, 2))
    convolutions = [part for inside, outside, stride in widths for part in _convolution(inside, outside, stride)]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, classes))


def _convolution(inside: int, outside: int, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )
