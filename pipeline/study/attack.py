"""``python -m pipeline.study.attack``: targeted PGD on networks, alone and behind rank truncation (table 2)."""

import argparse
import sys
from collections.abc import Callable
from fractions import Fraction

from pipeline import console
from pipeline.console import Parser, whole
from pipeline.errors import UsageError
from pipeline.study.options import add_images, add_models, images, networks

_RELATIVE = "relative"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.study.attack",
        description="Targeted L-infinity PGD: how often a network predicts the target (success), the true class (recovery) "
        "or neither (other), of all images and of those it got right before. With --ranks also behind rank truncation, "
        "attacked by what was made for the network alone and by attacks that go through the truncation.",
        epilog="Exit status: 0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    add_models(parser)
    add_images(parser)
    group = parser.add_argument_group("attack (units of the image in [0, 1]; fractions such as 4/255 are taken)")
    group.add_argument("--eps", metavar="X", type=_unit("--eps"), default=4 / 255, help="bound (default 4/255)")
    group.add_argument("--steps", metavar="N", type=whole("--steps"), default=20, help="gradient steps (default 20)")
    group.add_argument(
        "--step-size", metavar="X", type=_step, default=1 / 255, help="default 1/255; relative: 2.5 eps / steps"
    )
    group.add_argument(
        "--seed", metavar="N", type=whole("--seed", 0), default=0, help="of targets and starts (default 0)"
    )
    group.add_argument("--ranks", metavar="LIST", type=_ranks, default=(), help="of truncation, such as 5,10,20")
    group.add_argument(
        "--batch", metavar="N", type=whole("--batch"), default=256, help="images at a time (default 256)"
    )
    group.add_argument(
        "--out", metavar="DIR", type=console.path("--out"), required=True, help="folder for tables and the figure"
    )
    return parser


def _unit(option: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(Fraction(text))
        except (ValueError, ZeroDivisionError, OverflowError):
            value = -1.0
        if not 0 < value <= 1:
            raise UsageError(
                f"{option}: {text!r} is not above 0 and up to 1: give a number or a fraction such as 4/255"
            )
        return value

    return parse


def _step(text: str) -> float | str:
    step: float | str = _RELATIVE if text == _RELATIVE else _unit("--step-size")(text)
    return step


def _ranks(text: str) -> tuple[int, ...]:
    return tuple(sorted({whole("--ranks")(part.strip()) for part in text.split(",")}))


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; nothing has been written")


def _main(options: argparse.Namespace) -> int:
    from pipeline.study import results
    from pipeline.study.attacks import run as attack_run
    from pipeline.study.attacks import table
    from pipeline.study.attacks.pgd import Attack
    from pipeline.study.plots import attack as plots_attack
    from pipeline.study.plots import style as plots

    given = images(options)
    if max(options.ranks, default=0) >= min(given.size):
        raise UsageError(f"--ranks {options.ranks[-1]}: these images have ranks 1 to {min(given.size) - 1}")
    if len(given.classes) < 2:
        raise UsageError(f"{given.origin}: all images are of one class, and a targeted attack needs another to aim for")
    loaded = networks(options, given.size, len(given.classes))
    for network in loaded:
        network.need_gradients("an attack", given.size)
    out = results.folder(options.out, other="spectrum")
    step = 2.5 * options.eps / options.steps if options.step_size == _RELATIVE else options.step_size
    attack = Attack(options.eps, options.steps, step, options.seed)
    terminal = sys.stderr.isatty()

    def progress(done: int, count: int) -> None:
        if terminal:
            end = "\r\x1b[K" if done == count else ""
            console.tell(f"\r\x1b[K{done} of {count} batches attacked{end}", end="")

    attacked = attack_run.run(loaded, given, attack, options.ranks, options.batch, options.device, progress)
    results.write_csv(out / "attack.csv", table.rows(attacked))
    results.write_csv(out / "predictions.csv", table.predictions(attacked))
    asked = {name: value for name, value in vars(options).items() if name not in ("model", "out")}
    asked["model"] = [vars(one) for one in options.model]
    about = {"images": given.origin, "results": list(table.rows(attacked))}
    results.write_json(out / "attack.json", results.settings(asked) | about)
    with plots.style():
        plots.save(plots_attack.figure(attacked), out / "attack")
    print(table.text(attacked), flush=True)
    return 0


if __name__ == "__main__":
    console.leave(main())
