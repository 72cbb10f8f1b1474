"""``python -m pipeline.study.spectrum``: what networks still recognise at every rank (Algorithm 1, figures 6, 7 and 13)."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import console
from pipeline.console import Parser, whole
from pipeline.errors import UsageError, nearest
from pipeline.study.options import add_images, add_models, images, networks

if TYPE_CHECKING:
    from pipeline.study.distortion.spectrum import Spectrum
    from pipeline.study.distortion.tables import Twin


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.study.spectrum",
        description="Classify every image at every rank k = 0 (black) .. min(h, w) with any number of networks: accuracy "
        "(figures 6, 7, 13) and agreement with the full-rank prediction (Algorithm 1), with 95 % intervals.",
        epilog="Exit status: 0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    add_models(parser)
    add_images(parser)
    group = parser.add_argument_group("experiment")
    group.add_argument(
        "--family",
        metavar="LIST",
        default="rank",
        help="rank (default), and controls at its distortion: lowpass, blur, jpeg, noise",
    )
    group.add_argument("--as-stored", action="store_true", help="images rounded and clipped as in PNG files")
    group.add_argument(
        "--twin", metavar="ROBUST=NATURAL", action="append", default=[], help="labels of networks of one architecture"
    )
    group.add_argument("--reference", metavar="LABEL", help="network that gaps are to (default: the first natural one)")
    group.add_argument("--at", metavar="K", type=whole("--at"), default=3, help="rank of the summary (default 3)")
    group.add_argument("--batch", metavar="N", type=whole("--batch"), default=64, help="images at a time (default 64)")
    group.add_argument(
        "--out", metavar="DIR", type=console.path("--out"), required=True, help="folder for tables and figures"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; nothing has been written")


def _main(options: argparse.Namespace) -> int:
    from pipeline.study import results
    from pipeline.study.distortion.families import families
    from pipeline.study.distortion.spectrum import run
    from pipeline.study.distortion.text import summary

    wanted = families(options.family)
    given = images(options)
    if options.at >= min(given.size):
        raise UsageError(f"--at {options.at}: these images have ranks 1 to {min(given.size) - 1}")
    loaded = networks(options, given.size, len(given.classes))
    twins, reference = _twins(options, [network.name for network in loaded])
    out = results.folder(options.out, other="attack")
    terminal = sys.stderr.isatty()

    def progress(done: int, count: int) -> None:
        if terminal:
            end = "\r\x1b[K" if done == count else ""
            console.tell(f"\r\x1b[K{done:,} of {count:,} images at every rank{end}", end="")

    spectrum = run(loaded, given, wanted, options.as_stored, options.batch, progress)
    _write(spectrum, twins, reference, out, options)
    print(summary(spectrum, twins, options.at))
    return 0


def _twins(options: argparse.Namespace, names: list[str]) -> "tuple[list[Twin], str]":
    """Pairs of networks, and the network that gaps are to."""
    from pipeline.study.distortion.tables import Twin

    pairs = []
    for text in options.twin:
        robust, _, natural = text.partition("=")
        _known("--twin", [robust, natural], names)
        if robust == natural:
            raise UsageError(f"--twin {text}: a network is not its own twin; give ROBUST=NATURAL")
        pairs.append((robust, natural))
    paired = {name for pair in pairs for name in pair}
    reference = options.reference
    if reference is None:
        reference = next((name for name in names if name not in paired), names[0])
    _known("--reference", [reference], names)
    if reference in paired and pairs:
        raise UsageError("a twin's gap needs a natural network of another architecture: give it as --reference")
    return [Twin(robust, natural, reference) for robust, natural in pairs], reference


def _known(option: str, given: list[str], names: list[str]) -> None:
    for name in given:
        if name not in names:
            raise UsageError(
                f"{option}: {name!r} is no network's label; there are {', '.join(names)}{nearest(name, names)}"
            )


def _write(spectrum: "Spectrum", twins: "list[Twin]", reference: str, out: Path, options: argparse.Namespace) -> None:
    from pipeline.study import results
    from pipeline.study.distortion import tables
    from pipeline.study.plots import spectrum as plots_spectrum
    from pipeline.study.plots import style as plots

    results.write_csv(out / "spectrum.csv", tables.curves(spectrum))
    results.write_csv(out / "classes.csv", tables.by_class(spectrum))
    results.write_csv(out / "predictions.csv", tables.predictions(spectrum))
    if len(spectrum.models) > 1:
        results.write_csv(out / "differences.csv", tables.differences(spectrum))
    if twins:
        results.write_csv(out / "shares.csv", tables.shares(spectrum, twins))
    with plots.style():
        plots.save(plots_spectrum.spectrum_figure(spectrum, twins, reference), out / "spectrum")
        if len(spectrum.families) > 1:
            results.write_csv(out / "controls.csv", tables.controls(spectrum))
            plots.save(plots_spectrum.controls_figure(spectrum), out / "controls")
    about = {"images": spectrum.images.origin, "count": len(spectrum.images), "reference": reference}
    results.write_json(out / "spectrum.json", results.settings(results.plain(options)) | about)


if __name__ == "__main__":
    console.leave(main())
