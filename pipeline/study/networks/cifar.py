"""Architectures for CIFAR-10: those of published weights, and ResNet-18 and ResNet-50 for small images.

Each takes normalised float32 (n, 3, 32, 32) and returns logits (n, classes). Parameters are named as in the weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

Triple = tuple[float, float, float]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
# The deviation within images, a common mistake. The weights of cnn_a were trained with it.
CIFAR10_SHORT = (
    (0.4914, 0.4822, 0.4465),
    (0.2023, 0.1994, 0.2010),
)


@dataclass(frozen=True)
class Architecture:
    """A network with a name.

    Attributes:
        build: returns an untrained module for a number of classes.
        mean, std: per channel, normalisation of the input in [0, 1] with which the published weights were trained.
        size: height and width of the input in pixels.
    """

    build: Callable[[int], nn.Module]
    mean: Triple
    std: Triple
    size: int = 32


class ResidualPair(nn.Module):
    """Two 3x3 convolutions and a shortcut (He's basic block).

    Args:
        norm: batch norm after each convolution; if False, convolutions have a bias instead.
        shortcut: ``pad`` subsamples and pads with zero channels (He's option A), ``conv`` is a 1x1 convolution (B).
    """

    def __init__(self, inside: int, outside: int, stride: int, norm: bool = True, shortcut: str = "pad") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=not norm)
        self.bn1: nn.Module = nn.BatchNorm2d(outside) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=not norm)
        self.bn2: nn.Module = nn.BatchNorm2d(outside) if norm else nn.Identity()
        self.shortcut = _shortcut(inside, outside, stride, norm, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with batch norm; the output has four times ``width`` channels."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.shortcut = _shortcut(inside, 4 * width, stride, True, "conv")

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(inner)) + self.shortcut(x))


class PadShortcut(nn.Module):
    """Subsamples by ``stride`` and pads with ``channels`` zero channels on both sides."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.channels, self.channels))


def _shortcut(inside: int, outside: int, stride: int, norm: bool, kind: str) -> nn.Module:
    if stride == 1 and inside == outside:
        return nn.Sequential()
    if kind == "pad":
        return PadShortcut((outside - inside) // 2, stride)
    conv = nn.Conv2d(inside, outside, 1, stride, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(outside)) if norm else nn.Sequential(conv)


class ThinResNet(nn.Module):
    """He's ResNet for CIFAR ("Deep Residual Learning", section 4.2): 6 n + 2 layers of 16, 32 and 64 channels."""

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        each = (depth - 2) // 6
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = _stage(ResidualPair, 16, 16, each, 1)
        self.layer2 = _stage(ResidualPair, 16, 32, each, 2)
        self.layer3 = _stage(ResidualPair, 32, 64, each, 2)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


class WideResNet(nn.Module):
    """ResNet-18 or ResNet-50 with a 3x3 stem of stride 1 and no max pooling, as is usual for CIFAR."""

    def __init__(self, blocks: Sequence[int], bottleneck: bool, classes: int) -> None:
        super().__init__()
        block, expansion = (Bottleneck, 4) if bottleneck else (_projected_pair, 1)
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        self.layer1 = _stage(block, 64, 64, blocks[0], 1, expansion)
        self.layer2 = _stage(block, 64 * expansion, 128, blocks[1], 2, expansion)
        self.layer3 = _stage(block, 128 * expansion, 256, blocks[2], 2, expansion)
        self.layer4 = _stage(block, 256 * expansion, 512, blocks[3], 2, expansion)
        self.linear = nn.Linear(512 * expansion, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


class PlainResNet(nn.Module):
    """A small ResNet without batch norm, as used in robustness verification: a stem of stride 2, and two linear layers.

    Args:
        stem: channels of the first convolution.
        width: channels of the residual blocks.
        stages: 1 or 2 stages of two blocks, each of stride 2.
    """

    def __init__(self, stem: int, width: int, stages: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, 2, 1)
        self.layer1 = _stage(_plain_pair, stem, width, 2, 2)
        self.layer2 = _stage(_plain_pair, width, width, 2, 2) if stages == 2 else nn.Sequential()
        side = 16 // 2**stages
        self.linear1, self.linear2 = nn.Linear(width * side * side, 100), nn.Linear(100, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.conv1(x))))
        logits: Tensor = self.linear2(F.relu(self.linear1(x.flatten(1))))
        return logits


Block = Callable[[int, int, int], nn.Module]  # of input channels, width and stride


def _stage(block: Block, inside: int, width: int, blocks: int, stride: int, expansion: int = 1) -> nn.Sequential:
    """Returns blocks of one width; the first has the stride. A block has ``expansion * width`` output channels."""
    return nn.Sequential(block(inside, width, stride), *(block(expansion * width, width, 1) for _ in range(blocks - 1)))


def _projected_pair(inside: int, outside: int, stride: int) -> ResidualPair:
    return ResidualPair(inside, outside, stride, shortcut="conv")


def _plain_pair(inside: int, outside: int, stride: int) -> ResidualPair:
    return ResidualPair(inside, outside, stride, norm=False, shortcut="conv")


def cnn_a(classes: int = 10) -> nn.Module:
    """Returns two 4x4 convolutions of stride 2 and linear layers 2048-100-classes."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, classes)),
    )


ARCHITECTURES: dict[str, Architecture] = {
    "resnet20": Architecture(lambda classes: ThinResNet(20, classes), *IMAGENET),
    "resnet56": Architecture(lambda classes: ThinResNet(56, classes), *IMAGENET),
    "resnet2b": Architecture(lambda classes: PlainResNet(8, 16, 1, classes), *CIFAR10),
    "resnet4b": Architecture(lambda classes: PlainResNet(16, 32, 2, classes), *CIFAR10),
    "cnn_a": Architecture(cnn_a, *CIFAR10_SHORT),
    "resnet18_cifar": Architecture(lambda classes: WideResNet((2, 2, 2, 2), False, classes), *CIFAR10),
    "resnet50_cifar": Architecture(lambda classes: WideResNet((3, 4, 6, 3), True, classes), *CIFAR10),
}
