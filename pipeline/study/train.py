"""``python -m pipeline.study.train``: trains networks on variants, tests them on full-rank images (section 5)."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from pipeline import console, signals
from pipeline.console import Parser, whole
from pipeline.errors import UsageError
from pipeline.study.options import add_out, check_choice, prepare_torch, whole_numbers

if TYPE_CHECKING:  # torch would slow down --help
    from pipeline.study.training.runs import Runs, Trained

_RECIPES = ("paper", "short")
_PRECISIONS = ("float32", "bfloat16")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.study.train",
        description="Train networks on variants of an output. Test them on full-rank images, on the variant's own images "
        "and, if the variant is high-rank-only, on signed images without the offset of 128. High-rank-only variants are "
        "also trained on signed images, the negative control. Images are held in memory, or read "
        "from the shards (--stream).",
        epilog="The same command continues a stopped training. More variants or seeds are added to the folder. "
        "DIR/VARIANT/seedN has weights.pt, curve.csv and TensorBoard's events. DIR has results.csv, results.json and the "
        "figure, for the variants and seeds of the last command. Exit status: 0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "data", metavar="DATA", type=console.path("DATA"), help="an output of pipeline.build, with the component full"
    )
    parser.add_argument(
        "--variants", metavar="LIST", required=True, help="such as full,rank20,highrank2: stored, or cut from full"
    )
    add_out(parser, "weights, tables and the figure")
    parser.add_argument(
        "--network",
        metavar="NAME",
        default="resnet18_cifar",
        help="built-in network or module:factory (default resnet18_cifar)",
    )
    parser.add_argument(
        "--seeds", metavar="LIST", type=whole_numbers("--seeds", 0), default=(0, 1, 2), help="default 0,1,2"
    )
    parser.add_argument("--train-split", metavar="NAME", default="train", help="default train")
    parser.add_argument("--test-split", metavar="NAME", default="test", help="default test")
    for use in ("train", "test"):
        option = f"--{use}-keys"
        parser.add_argument(
            option, metavar="FILE", type=console.path(option), help=f"{use} only on these images: one key per line"
        )
    parser.add_argument("--no-control", action="store_true", help="do not train on signed images")
    _add_recipe(parser)
    _add_stream(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def _add_recipe(parser: Parser) -> None:
    group = parser.add_argument_group("recipe")
    group.add_argument(
        "--recipe",
        metavar="NAME",
        type=_one_of("--recipe", _RECIPES),
        default="short",
        help="paper: SGD at 0.1, divided by 10 after 3/7 and 5/7 of 350 epochs; short (default): one cycle of 15 epochs",
    )
    group.add_argument("--epochs", metavar="N", type=whole("--epochs"), help="default: the recipe's")
    group.add_argument("--lr", metavar="X", type=_rate, help="maximum learning rate (default: the recipe's, 0.1)")
    group.add_argument(
        "--batch", metavar="N", type=whole("--batch"), help="images per step, of all processes (default 128)"
    )
    group.add_argument(
        "--padding", metavar="N", type=whole("--padding", 0), default=4, help="pixels around random crops (default 4)"
    )
    group.add_argument(
        "--fill",
        metavar="N",
        type=whole("--fill", 0, 255),
        help="grey level of the padding (default: 128 for high-rank-only, else 0)",
    )
    group.add_argument("--device", metavar="NAME", help="cpu or cuda (default: cuda if there is a GPU)")
    group.add_argument(
        "--precision",
        metavar="NAME",
        type=_one_of("--precision", _PRECISIONS),
        help="float32, or bfloat16 by autocast (default: bfloat16 on a GPU that supports it)",
    )


def _add_stream(parser: Parser) -> None:
    group = parser.add_argument_group("large datasets")
    group.add_argument(
        "--stream",
        action="store_true",
        help="read images from the shards when they are needed; torchrun may start several processes",
    )
    group.add_argument(
        "--workers",
        metavar="N",
        type=whole("--workers", 0, 1024),
        help="DataLoader workers of each process, with --stream (default 0: the process itself reads)",
    )


def _one_of(option: str, allowed: tuple[str, ...]) -> Callable[[str], str]:
    return lambda text: check_choice(option, text, allowed)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 100:
        raise UsageError(f"--lr: {text!r} is not a number between 0 and 100")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    stopped = "stopped; the same command continues after the last finished epoch"
    return console.run(lambda: _main(_parser().parse(arguments)), stopped)


def _main(options: argparse.Namespace) -> int:
    prepare_torch()
    from pipeline.study.training import tables
    from pipeline.study.training.curves import has_tensorboard
    from pipeline.study.training.data import stand_in_warning
    from pipeline.study.training.processes import joined
    from pipeline.study.training.runs import run

    runs = _runs(options)
    with joined(runs.device) as team:
        trained = run(runs, options.out, options.quiet, team)
    if not team.first:
        return 0
    if not has_tensorboard():
        console.tell(
            "TensorBoard is not installed (pip install 'rank-shards[study]'): curves are written to curve.csv only"
        )
    warning = stand_in_warning(runs.chosen)
    _write(runs, trained, warning, options)
    print(tables.text(runs, trained, warning), flush=True)
    return 0


def _runs(options: argparse.Namespace) -> "Runs":
    from pipeline.study.training.data import Selection
    from pipeline.study.training.recipe import RECIPES
    from pipeline.study.training.runs import Runs, choose_device, default_precision

    if options.workers is not None and not options.stream:
        raise UsageError("--workers needs --stream")
    overrides = {name: getattr(options, name) for name in ("epochs", "lr", "batch")}
    recipe = replace(RECIPES[options.recipe], **{name: value for name, value in overrides.items() if value is not None})
    device = choose_device(options.device)
    return Runs(
        chosen=Selection(options.data, options.train_split, options.test_split, options.train_keys, options.test_keys),
        variants=tuple(dict.fromkeys(name.strip() for name in options.variants.split(","))),
        network=options.network,
        seeds=options.seeds,
        recipe=recipe,
        padding=options.padding,
        fill=options.fill,
        device=device,
        precision=options.precision or default_precision(device),
        control=not options.no_control,
        workers=(options.workers or 0) if options.stream else None,
    )


def _write(runs: "Runs", trained: "Sequence[Trained]", warning: str, options: argparse.Namespace) -> None:
    from pipeline.study.plots.style import figure_style, save
    from pipeline.study.plots.training import training_figure
    from pipeline.study.results.result_files import settings, write_csv, write_json
    from pipeline.study.training import tables

    write_csv(options.out / "results.csv", tables.rows(trained))
    content = {"note": warning, "results": tables.scores(trained)}
    write_json(options.out / "results.json", settings(asdict(runs), ("numpy", "torch")) | content)
    with figure_style():
        save(training_figure(trained, warning), options.out / "accuracy")


if __name__ == "__main__":
    signals.leave(main())
