"""``python -m pipeline.study.train``: train on one cut of a dataset, test on the full-rank images (section 5)."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline import console
from pipeline.console import Parser, whole
from pipeline.errors import UsageError, nearest

if TYPE_CHECKING:  # torch must not slow down --help
    from pipeline.study.training.runs import Runs

_RECIPES = ("paper", "short")
_PRECISIONS = ("float32", "bfloat16")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.study.train",
        description="Train networks on variants of an output and test them on full-rank images, on the variant's own, and, "
        "for high-rank-only ones, on signed images without the offset of 128. High-rank-only variants are also trained on "
        "signed, the negative control. Images are held in memory.",
        epilog="The same command goes on where it was stopped; more variants or seeds are added to what is there. "
        "DIR/VARIANT/seedN has weights.pt, curve.csv and TensorBoard's events, DIR has results.csv, results.json and the "
        "figure, of the variants and seeds of the last command. Exit status: 0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "data", metavar="DATA", type=console.path("DATA"), help="an output of pipeline.build, with the component full"
    )
    parser.add_argument(
        "--variants", metavar="LIST", required=True, help="full,rank20,highrank2: stored, or cut from full"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=console.path("--out"), required=True, help="folder for what is made"
    )
    parser.add_argument(
        "--network",
        metavar="NAME",
        default="resnet18_cifar",
        help="known one or module:factory (default resnet18_cifar)",
    )
    parser.add_argument("--seeds", metavar="LIST", type=_seeds, default=(0, 1, 2), help="default 0,1,2")
    parser.add_argument("--train-split", metavar="NAME", default="train", help="default train")
    parser.add_argument("--test-split", metavar="NAME", default="test", help="default test")
    parser.add_argument(
        "--train-keys",
        metavar="FILE",
        type=console.path("--train-keys"),
        help="train on these images only: a key a line",
    )
    parser.add_argument(
        "--test-keys", metavar="FILE", type=console.path("--test-keys"), help="test on these images only: a key a line"
    )
    parser.add_argument("--no-control", action="store_true", help="do not train on signed images")
    how = parser.add_argument_group("recipe")
    how.add_argument(
        "--recipe",
        metavar="NAME",
        type=_one_of("--recipe", _RECIPES),
        default="short",
        help="paper: SGD at 0.1, a tenth at 3/7 and 5/7 of 350 epochs; short (default): one cycle of 15 epochs",
    )
    how.add_argument("--epochs", metavar="N", type=whole("--epochs"), help="default: the recipe's")
    how.add_argument("--lr", metavar="X", type=_rate, help="learning rate, its highest (default: the recipe's, 0.1)")
    how.add_argument("--batch", metavar="N", type=whole("--batch"), help="images a step (default 128)")
    how.add_argument("--padding", metavar="N", type=whole("--padding", 0), default=4, help="around crops (default 4)")
    how.add_argument(
        "--fill", metavar="N", type=_grey, help="grey level of the padding (default: 128 for high-rank-only, else 0)"
    )
    how.add_argument("--device", metavar="NAME", help="cpu or cuda (default: cuda where there is one)")
    how.add_argument(
        "--precision",
        metavar="NAME",
        type=_one_of("--precision", _PRECISIONS),
        help="float32, or bfloat16 by autocast (default: bfloat16 on a GPU that has it)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def _one_of(option: str, allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise UsageError(f"{option}: {text!r} is not one of {', '.join(allowed)}{nearest(text, allowed)}")
        return text

    return parse


def _seeds(text: str) -> tuple[int, ...]:
    parse = whole("--seeds", 0)
    return tuple(dict.fromkeys(parse(part.strip()) for part in text.split(",")))


def _grey(text: str) -> int:
    level: int = whole("--fill", 0)(text)
    if level > 255:
        raise UsageError(f"--fill: {level} is no grey level: it takes 0 to 255")
    return level


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 100:
        raise UsageError(f"--lr: {text!r} is not a number between 0 and 100")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    stopped = "stopped; the same command goes on after the last whole epoch"
    return console.run(lambda: _main(_parser().parse(arguments)), stopped)


def _main(options: argparse.Namespace) -> int:
    from pipeline.study.training import report
    from pipeline.study.training import runs as training_runs
    from pipeline.study.training.curves import has_tensorboard

    if not has_tensorboard():
        console.tell('no TensorBoard here (pip install -e ".[study]"): curves go to curve.csv alone')
    runs = _runs(options)
    trained = training_runs.run(runs, options.out, options.quiet)
    print(report.write(options.out, runs, trained), flush=True)
    return 0


def _runs(options: argparse.Namespace) -> "Runs":
    from pipeline.study.training import runs as training_runs
    from pipeline.study.training.data import Selection
    from pipeline.study.training.recipe import RECIPES

    given = {name: getattr(options, name) for name in ("epochs", "lr", "batch")}
    recipe = replace(RECIPES[options.recipe], **{name: value for name, value in given.items() if value is not None})
    device = training_runs.device(options.device)
    return training_runs.Runs(
        chosen=Selection(options.data, options.train_split, options.test_split, options.train_keys, options.test_keys),
        variants=tuple(dict.fromkeys(name.strip() for name in options.variants.split(","))),
        network=options.network,
        seeds=options.seeds,
        recipe=recipe,
        padding=options.padding,
        fill=options.fill,
        device=device,
        precision=options.precision or training_runs.precision(device),
        control=not options.no_control,
    )


if __name__ == "__main__":
    console.leave(main())
