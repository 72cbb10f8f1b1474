"""What a proof says when it is done."""

from pipeline.verification.faults import KEPT, Faults, counted
from pipeline.verification.prove import Proof
from pipeline.verification.quick import Look


def proven(proof: Proof) -> str:
    """What was proven of an output without a fault, and what could not be."""
    manifest, total = proof.manifest, proof.total
    variants = ", ".join(variant.name for variant in manifest.variants)
    splits = ", ".join(f"{counts.samples:,} {split}" for split, counts in manifest.splits.items())
    rejects = sum(counts.rejects for counts in manifest.splits.values())
    lines = [
        f"{manifest.root} is what its manifest says:",
        f"  {counted(len(manifest.files), 'file')}, {total.bytes:,} bytes: sizes and SHA-256",
        f"  {counted(total.samples, 'sample')} ({splits}), {counted(rejects, 'reject')}, in each of {variants}: "
        "present, in order, labelled, decoded",
    ]
    if proof.kept:
        lines.append(
            f"  {proof.kept:,} of {counted(proof.parts, 'part')} proven by an earlier run, and unchanged since"
        )
    if total.fitted:
        lines.append(f"  low and high add up to the image: {counted(total.fitted, 'pair')}")
    if total.paired:
        lines.append(f"  low and high add up to one image at every rank: {counted(total.paired, 'pair')}")
    if total.recomputed:
        lines.append(_recomputed(proof))
    if proof.sourced:
        lines.append("  labels and original names are the source's")
    if not total.recomputed and any(variant.component != "full" for variant in manifest.variants):
        takes = "--source DIR, or the variant full" if not proof.known else "--sample 1 or more"
        lines.append(f"  not proven: that the images were cut right; that takes {takes}")
    elif not proof.sourced:
        lines.append("  not proven: that full is the source's image; that takes --source DIR")
    return "\n".join(lines)


def _recomputed(proof: Proof) -> str:
    images, counts = proof.total.recomputed, proof.total.counts
    against = "the source" if proof.sourced else "full"
    cuts = f", {counts.bytes:,} bytes equal to float64 SVD" if counts.bytes else ""
    return (
        f"  {counted(images, 'image')} recomputed from {against}{cuts} ({counted(counts.ties, 'subpixel')} near a "
        f"rounding tie, {counted(counts.degenerate, 'degenerate plane')}), with their singular values"
    )


def looked(seen: Look) -> str:
    """What a quick look at an output without a fault has seen, and what it has not."""
    lines = [
        f"{seen.manifest.root} has the files that its manifest names:",
        f"  {counted(len(seen.manifest.files), 'file')}, {seen.bytes:,} bytes: there, with their sizes",
    ]
    if seen.records:
        lines.append(f"  {counted(seen.records, 'shard record')} of the build: of one mind with the manifest")
    return "\n".join([*lines, "  not proven: what is in them; that takes a run without --quick"])


def faults(found: Faults) -> str:
    """The first faults, a line each, and how many more there are."""
    more = [f"and {counted(found.count - KEPT, 'more fault')}"] if found.count > KEPT else []
    return "\n".join([*map(str, found.first), *more])
