"""The lines that verify prints when it is done."""

from pipeline.sources import OBJECT
from pipeline.verification.faults import SHOWN, Faults, counted
from pipeline.verification.quick_check import QuickResult
from pipeline.verification.same_as import Comparison
from pipeline.verification.verify_output import Verification


def of_verification(verification: Verification) -> str:
    """Returns what was verified of an output without a fault, and what could not be."""
    manifest, total = verification.manifest, verification.total
    variants = ", ".join(variant.name for variant in manifest.variants)
    splits = ", ".join(f"{counts.samples:,} {split}" for split, counts in manifest.splits.items())
    rejects = sum(counts.rejects for counts in manifest.splits.values())
    lines = [
        f"{manifest.root} is what its manifest says:",
        f"  {counted(len(manifest.files), 'file')}, {total.bytes:,} bytes: sizes and SHA-256",
        f"  {counted(total.samples, 'sample')} ({splits}), {counted(rejects, 'reject')}, in each of {variants}: "
        "present, in order, labelled, decoded",
    ]
    if verification.resumed:
        parts = f"{verification.resumed:,} of {counted(verification.parts, 'part')}"
        lines.append(f"  {parts} verified by an earlier run, and unchanged since")
    if total.fitted:
        lines.append(f"  low and high add up to the image: {counted(total.fitted, 'pair')}")
    if total.paired:
        lines.append(f"  low and high add up to one image at every rank: {counted(total.paired, 'pair')}")
    if total.recomputed:
        lines.append(_recomputed(verification))
    if verification.sourced:
        lines.append("  labels and original names are the source's")
    if not total.recomputed and any(variant.component != "full" for variant in manifest.variants):
        original = "the variant full" if manifest.dataset == OBJECT else "--source DIR, or the variant full"
        needed = "--sample 1 or more" if verification.has_originals else original
        lines.append(f"  not verified: that the images were cut right; that takes {needed}")
    elif not verification.sourced:
        needed = "pipeline.build_dataset with it" if manifest.dataset == OBJECT else "--source DIR"
        lines.append(f"  not verified: that full is the source's image; that takes {needed}")
    return "\n".join(lines)


def of_share(verification: Verification, share: tuple[int, int]) -> str:
    """Returns what was verified of a share of an output without a fault."""
    total, (number, shares) = verification.total, share
    lines = [
        f"{verification.manifest.root}: part {number} of {shares} is what the manifest says:",
        f"  {counted(total.samples, 'sample')}, {total.bytes:,} bytes: {verification.parts:,} of its shards and groups of "
        "other files",
    ]
    if verification.resumed:
        lines.append(f"  {verification.resumed:,} of them verified by an earlier run, and unchanged since")
    lines.append(
        f"  after all {shares} parts, verify without --part gives the result and the report of the whole output"
    )
    return "\n".join(lines)


def _recomputed(verification: Verification) -> str:
    images, counts = verification.total.recomputed, verification.total.counts
    origin = "the source" if verification.sourced else "full"
    cuts = f", {counts.bytes:,} bytes equal to float64 SVD" if counts.bytes else ""
    return (
        f"  {counted(images, 'image')} recomputed from {origin}{cuts} ({counted(counts.ties, 'subpixel')} near a "
        f"rounding tie, {counted(counts.degenerate, 'degenerate plane')}), with their singular values"
    )


def of_quick_check(result: QuickResult) -> str:
    """Returns what a quick check has found of an output without a fault, and what it does not cover."""
    lines = [
        f"{result.manifest.root} has the files that its manifest names:",
        f"  {counted(len(result.manifest.files), 'file')}, {result.bytes:,} bytes: there, with their sizes",
    ]
    if result.records:
        lines.append(f"  {counted(result.records, 'shard record')} of the build: in agreement with the manifest")
    return "\n".join([*lines, "  not verified: the content of the files; that takes a run without --quick"])


def of_comparison(comparison: Comparison) -> str:
    """Returns what was compared with another output that holds the same."""
    return f"\n  {counted(comparison.samples, 'sample')} with the keys, labels and pixels of {comparison.other}"


def of_differences(comparison: Comparison) -> str:
    """Returns the differences from another output, a line each."""
    return "\n".join(f"not the same as {comparison.other}: {line}" for line in comparison.differences)


def of_faults(faults: Faults) -> str:
    """Returns the first faults, a line each, and how many more there are."""
    more = [f"and {counted(faults.count - SHOWN, 'more fault')}"] if faults.count > SHOWN else []
    return "\n".join([*map(str, faults.first), *more])
