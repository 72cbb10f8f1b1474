"""``python -m pipeline.study.spectrum``: classifies images at every rank (Algorithm 1, figures 6, 7 and 13)."""

import argparse
from typing import TYPE_CHECKING

from pipeline import console, signals
from pipeline.console import Parser, whole
from pipeline.errors import UsageError
from pipeline.study.options import add_out, check_choice, load_images, load_networks, prepare_torch, study_parser
from pipeline.study.ranks import EVERY, listed, parse_ranks

if TYPE_CHECKING:  # torch and numpy would slow down --help
    from pipeline.study.images import Images
    from pipeline.study.networks.network import Network
    from pipeline.study.spectra.spectrum import Spectrum
    from pipeline.study.spectra.tables import Twin


def _parser() -> Parser:
    parser = study_parser(
        "spectrum",
        "Classify every image at ranks from k = 0 (black) to min(h, w) with any number of networks: accuracy "
        "(figures 6, 7, 13) and agreement with the full-rank prediction (Algorithm 1), with 95 % intervals. "
        "The same command continues a run that was stopped.",
    )
    group = parser.add_argument_group("experiment")
    group.add_argument(
        "--ranks",
        metavar="LIST",
        type=parse_ranks,
        help="such as 1,5,10 or START:STOP:STEP (default: every rank up to 32 pixels, about 40 ranks above)",
    )
    group.add_argument(
        "--family",
        metavar="LIST",
        default="rank",
        help="rank (default), and controls with the same distortion: lowpass, blur, jpeg, noise",
    )
    group.add_argument("--as-stored", action="store_true", help="round and clip the images, as PNG files store them")
    group.add_argument(
        "--twin",
        metavar="ROBUST=NATURAL",
        action="append",
        default=[],
        help="labels of two networks of one architecture",
    )
    group.add_argument(
        "--reference", metavar="LABEL", help="network to which gaps are measured (default: the first that is no twin)"
    )
    group.add_argument(
        "--at", metavar="K", type=whole("--at"), help="rank of the summary (default 3; 10 for images above 32 pixels)"
    )
    group.add_argument(
        "--examples",
        metavar="N",
        type=whole("--examples", 1, 16),
        help="also show N images at the rank of --at with the top classes of every network (figure 4)",
    )
    group.add_argument(
        "--batch",
        metavar="N",
        type=whole("--batch"),
        help="images at a time in each thread (default: 64 of 32 pixels, 4 of 224 pixels)",
    )
    group.add_argument("--dry-run", action="store_true", help="estimate the time on this machine; write nothing")
    add_out(group, "tables and figures")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; the same command continues")


def _main(options: argparse.Namespace) -> int:
    prepare_torch()
    from pipeline.study.distortion.families import parse_families
    from pipeline.study.results.result_files import make_folder
    from pipeline.study.spectra.estimate import dry_run
    from pipeline.study.spectra.resumed import doubts_of, resumed
    from pipeline.study.spectra.spectrum import Plan
    from pipeline.study.spectra.summary import summary
    from pipeline.study.threads import split_cores

    families = parse_families(options.family)
    threads = split_cores()
    images = load_images(options)
    plan = Plan.of(images.size, families, options.ranks, options.as_stored, options.batch)
    options.at = _rank_of_summary(options.at, plan.ranks)
    networks = load_networks(options, images.size, len(images.classes))
    twins, reference = _twins(options, [network.name for network in networks])
    if options.dry_run:
        print(dry_run(networks, images, plan, threads))
        return 0
    make_folder(options.out, other="attack")
    spectrum = resumed("spectrum", networks, images, plan, threads, options)
    warnings = doubts_of(spectrum)
    _write(spectrum, twins, reference, warnings, options)
    if options.examples:
        _write_examples(networks, images, options)
    print(summary(spectrum, twins, options.at))
    for line in warnings:
        console.tell(f"warning: {line}")
    return 0


def _rank_of_summary(at: int | None, ranks: tuple[int, ...]) -> int:
    """Returns the rank of ``--at``, or the measured rank that is nearest to the default."""
    below = ranks[:-1] or ranks
    if at is None:
        wanted = 3 if ranks[-1] <= EVERY else 10
        return min(below, key=lambda rank: (abs(rank - wanted), rank))
    if at not in below:
        raise UsageError(f"--at {at}: the measured ranks are {listed(below)}")
    return at


def _twins(options: argparse.Namespace, names: list[str]) -> "tuple[list[Twin], str]":
    """Returns the twins of ``--twin``, and the name of the network to which gaps are measured."""
    from pipeline.study.spectra.tables import Twin

    pairs = []
    for text in options.twin:
        robust, _, natural = text.partition("=")
        for name in (robust, natural):
            check_choice("--twin", name, names)
        if robust == natural:
            raise UsageError(f"--twin {text}: a network is not its own twin; give ROBUST=NATURAL")
        pairs.append((robust, natural))
    paired = {name for pair in pairs for name in pair}
    reference = options.reference
    if reference is None:
        reference = next((name for name in names if name not in paired), names[0])
    check_choice("--reference", reference, names)
    if reference in paired:
        raise UsageError("--twin needs a natural network of another architecture: give it as --reference")
    return [Twin(robust, natural, reference) for robust, natural in pairs], reference


def _write(
    spectrum: "Spectrum", twins: "list[Twin]", reference: str, warnings: list[str], options: argparse.Namespace
) -> None:
    from pipeline.study.plots.spectrum import controls_figure, spectrum_figure
    from pipeline.study.plots.style import figure_style, save
    from pipeline.study.results.result_files import plain_options, settings, write_csv, write_json
    from pipeline.study.spectra import tables

    out = options.out
    write_csv(out / "spectrum.csv", tables.curves(spectrum))
    write_csv(out / "classes.csv", tables.by_class(spectrum))
    write_csv(out / "predictions.csv", tables.predictions(spectrum))
    if len(spectrum.models) > 1:
        write_csv(out / "differences.csv", tables.differences(spectrum))
    (out / "shares.csv").unlink(missing_ok=True)  # of another --twin
    if twins:
        write_csv(out / "shares.csv", tables.shares(spectrum, twins))
    with figure_style():
        save(spectrum_figure(spectrum, twins, reference), out / "spectrum")
        if len(spectrum.families) > 1:
            write_csv(out / "controls.csv", tables.controls(spectrum))
            save(controls_figure(spectrum), out / "controls")
    content = {"images": spectrum.images.origin, "count": len(spectrum.images), "reference": reference}
    content |= {"ranks": spectrum.ranks, "warnings": warnings}
    write_json(out / "spectrum.json", settings(plain_options(options)) | content)


def _write_examples(networks: "list[Network]", images: "Images", options: argparse.Namespace) -> None:
    """Writes examples of N images at even distances."""
    import numpy as np

    from pipeline.study.plots.examples import examples_figure
    from pipeline.study.plots.style import figure_style, save
    from pipeline.study.results.result_files import write_csv
    from pipeline.study.spectra.examples import examples

    count = min(options.examples, len(images))
    shown = examples(networks, images.at(np.arange(count) * len(images) // count), options.at)
    write_csv(options.out / "examples.csv", shown.rows())
    with figure_style():
        save(examples_figure(shown), options.out / "examples")


if __name__ == "__main__":
    signals.leave(main())
