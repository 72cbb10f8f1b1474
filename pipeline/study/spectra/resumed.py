"""Computes a spectrum for a command: in its folder for results, where the same command continues it."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from pipeline import console
from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.progress import counter
from pipeline.study.results.digests import images_digest, network_digests
from pipeline.study.results.parts_file import open_results
from pipeline.study.sanity import doubts
from pipeline.study.spectra.spectrum import Plan, Spectrum, distorted_in, run


def resumed(
    study: str,
    networks: Sequence[Network],
    images: Images,
    plan: Plan,
    threads: int,
    options: argparse.Namespace,
) -> Spectrum:
    """Computes what the folder ``options.out`` does not hold yet, and shows progress.

    Args:
        study: name of the command.
        options: with ``out`` and ``model`` of the command.
    """
    settings = asdict(plan) | {"images": images_digest(images), "networks": network_digests(networks, options.model)}
    with open_results(options.out, study, settings) as parts:
        start = distorted_in(parts, plan)
        if 0 < start < plan.distorted(len(images)):
            console.tell(f"continuing: {start:,} of {plan.distorted(len(images)):,} distorted images are done")
        return run(networks, images, plan, parts, threads, counter("distorted images", start))


def doubts_of(spectrum: Spectrum) -> list[str]:
    """Returns warnings about networks whose predictions for the images themselves look like a mistake."""
    return [
        line
        for number, name in enumerate(spectrum.models)
        for line in doubts(name, spectrum.predictions[number, 0, -1], spectrum.images)
    ]
