"""Command-line options that the studies share: networks with their weights, images, and the output folder."""

import argparse
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import Parser, path, whole
from pipeline.cores import usable_cores
from pipeline.errors import UsageError, nearest
from pipeline.extras import require
from pipeline.sources import DATASETS

if TYPE_CHECKING:  # torch and numpy would slow down --help
    from pipeline.study.images import Images
    from pipeline.study.networks.network import Network

_MODEL = (
    "NAME of a built-in network, module:factory, FILE.onnx, FILE.pt2, timm:NAME or robustbench:NAME; LABEL= sets its name "
    "in tables and figures"
)
_LARGEST_INPUT = 4096


@dataclass
class ModelOption:
    """One ``--model`` with the options that follow it, up to the next ``--model``."""

    spec: str
    label: str | None = None
    weights: Path | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    input_size: int | None = None


class _AddModel(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        label, equals, spec = values.partition("=")
        labelled = equals and "/" not in label  # a path may contain an equals sign, too
        model = ModelOption(spec, label) if labelled else ModelOption(values)
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), model])


class _SetOnLastModel(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if not namespace.model:
            raise UsageError(f"{option} belongs to the --model before it: give --model first")
        setattr(namespace.model[-1], self.dest, values)


def study_parser(study: str, description: str) -> Parser:
    """Returns the parser of ``python -m pipeline.study.STUDY``, with the options for networks and images."""
    parser = Parser(
        prog=f"python -m pipeline.study.{study}",
        description=description,
        epilog="Exit status: 0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    _add_models(parser)
    _add_images(parser)
    return parser


def _add_models(parser: Parser) -> None:
    group = parser.add_argument_group("networks (any number: repeat --model, each with its own --weights)")
    group.add_argument("--model", metavar="[LABEL=]SPEC", action=_AddModel, default=[], help=_MODEL)
    last: dict[str, Any] = {"action": _SetOnLastModel, "default": argparse.SUPPRESS}
    group.add_argument(
        "--weights", metavar="FILE", type=path("--weights"), help="state dict, as torch.save writes it", **last
    )
    scale = "of the input in [0, 1] (default: the network's own)"
    group.add_argument("--mean", metavar="R,G,B", type=_triple("--mean"), help=f"mean {scale}", **last)
    group.add_argument("--std", metavar="R,G,B", type=_triple("--std"), help=f"standard deviation {scale}", **last)
    group.add_argument(
        "--input-size",
        metavar="N",
        type=whole("--input-size", 1, _LARGEST_INPUT),
        help="resize every image, after its distortion, to N x N pixels for this network",
        **last,
    )
    group.add_argument("--device", metavar="NAME", default="cpu", help="cpu (default) or cuda")


def _add_images(parser: Parser) -> None:
    group = parser.add_argument_group("images (an output, a file of CIFAR-10 records, or a dataset)")
    group.add_argument(
        "--images", metavar="PLACE", type=path("--images"), help="folder of an output, or a CIFAR-10 .bin file"
    )
    group.add_argument("--dataset", metavar="NAME", help=f"instead of --images: {', '.join(DATASETS)}")
    group.add_argument("--data-dir", metavar="DIR", type=path("--data-dir"), help="folder of the dataset")
    group.add_argument("--split", metavar="NAME", help="split of an output or a dataset (default test)")
    group.add_argument("--limit", metavar="N", type=whole("--limit"), help="number of images (default: all)")
    group.add_argument(
        "--classes",
        metavar="FILE",
        type=path("--classes"),
        help="give the images the labels of a list: imagenet, or a file of class names by label (text or json)",
    )
    group.add_argument("--resize", metavar="N", type=whole("--resize"), help="dataset only: shorter side in pixels")
    group.add_argument("--crop", metavar="N", type=whole("--crop"), help="dataset only: centre crop in pixels")
    group.add_argument(
        "--allow-unverified",
        action="store_true",
        help="dataset only: accept CIFAR files that are not the official ones",
    )


def add_out(group: Any, content: str) -> None:
    """Adds ``--out``, the folder for results.

    Args:
        content: what the folder receives, for ``--help``.
    """
    group.add_argument("--out", metavar="DIR", type=path("--out"), required=True, help=f"folder for {content}")


def whole_numbers(option: str, least: int) -> Callable[[str], tuple[int, ...]]:
    """Returns an argparse type: whole numbers separated by commas, each from ``least``, without repetitions."""
    number = whole(option, least)
    return lambda text: tuple(dict.fromkeys(number(part.strip()) for part in text.split(",")))


def prepare_torch() -> None:
    """Limits torch's threads to the usable cores: torch alone respects CPU affinity, and no cgroup quota.

    Raises:
        PipelineError: a package that a study needs, at its start or for its plots at its end, is not installed.
    """
    require("study", "torch", "matplotlib")
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))


def check_choice(option: str, value: str, allowed: Collection[str]) -> str:
    """Returns the value if it is allowed. Raises UsageError with the nearest allowed value if not."""
    if value not in allowed:
        raise UsageError(f"{option}: {value!r} is not one of {', '.join(allowed)}{nearest(value, allowed)}")
    return value


def _triple(option: str) -> Callable[[str], tuple[float, float, float]]:
    """Returns an argparse type: three numbers in [0, 1]. Those of images in 0..255 would give confident nonsense."""

    def parse(text: str) -> tuple[float, float, float]:
        try:
            red, green, blue = map(float, text.split(","))
        except ValueError:
            raise UsageError(f"{option} {text!r}: give three numbers such as 0.49,0.48,0.45") from None
        if not all(0 <= value <= 1 for value in (red, green, blue)):
            raise UsageError(
                f"{option} {text}: the three numbers are of images in [0, 1]; divide those of images in 0..255 by 255"
            )
        return red, green, blue

    return parse


def load_networks(options: argparse.Namespace, size: tuple[int, int], classes: int) -> "list[Network]":
    """Loads the networks of the ``--model`` options, with distinct names, on their device.

    Args:
        size: (height, width) of the images in pixels; every network must accept it.
        classes: number of classes of the images; every network must have as many outputs.
    """
    from pipeline.study.networks.load import load_network

    if not options.model:
        raise UsageError("give at least one --model; see --help")
    models: Sequence[ModelOption] = options.model
    networks = [
        load_network(model.spec, model.weights, name=model.label, mean=model.mean, std=model.std, device=options.device)
        for model in models
    ]
    for network, model in zip(networks, models, strict=True):
        network.input_size = model.input_size
        network.check_classes(size, classes)
        if sum(other.name == network.name for other in networks) > 1:
            raise UsageError(f"two networks are called {network.name!r}: name them with --model LABEL=SPEC")
    return networks


def load_images(options: argparse.Namespace) -> "Images":
    """Loads the images of ``--images`` or ``--dataset``, with the labels of ``--classes``."""
    images = _load_images(options)
    if options.classes is None:
        return images
    from pipeline.sources.class_list import read_class_list

    return images.with_labels_of(read_class_list(options.classes))


def _load_images(options: argparse.Namespace) -> "Images":
    from pipeline.numerics.geometry import Geometry
    from pipeline.study.images import from_output, from_records, from_source

    if (options.images is None) == (options.dataset is None):
        raise UsageError("give either --images (an output's folder or a .bin file) or --dataset")
    if options.crop and options.crop > (options.resize or 0):
        raise UsageError(f"--crop {options.crop}: give a --resize of {options.crop} or more as well")
    geometry = Geometry(options.resize, options.crop) if options.resize or options.crop else None
    split = "test" if options.split is None else options.split
    if options.dataset:
        return from_source(options.dataset, options.data_dir, split, options.limit, geometry, options.allow_unverified)
    if geometry or options.data_dir or options.allow_unverified:
        raise UsageError("--resize, --crop, --data-dir and --allow-unverified need --dataset")
    if options.images.suffix == ".bin":
        if options.split is not None:
            raise UsageError(f"--split {options.split}: a .bin file has no splits; give the file of that split")
        return from_records(options.images, options.limit)
    return from_output(options.images, split, options.limit)
