"""Five variants of one component as the five severities of a corruption, in the manner of CIFAR-10-C and ImageNet-C.

Severity 1 is the mildest: of ``low`` and ``lowpass`` the largest rank or radius, of ``high`` and ``highpass`` the smallest.
Bands have no such order; theirs is the order in which they are given, by default that of the output.
"""

from collections.abc import Sequence

from pipeline.data.output import Output
from pipeline.errors import UsageError, nearest
from pipeline.numerics.variants import Variant

COUNT = 5
# The names of the corruptions, by component.
NAMES = {"low": "low_rank", "high": "high_rank", "band": "band", "lowpass": "low_pass", "highpass": "high_pass"}


def severities(output: Output, variants: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Returns five variants for each corruption, mildest first, by the corruption's name.

    Args:
        output: the output.
        variants: five variants of each component that is exported; None for every component with exactly five.

    Raises:
        UsageError: a variant does not exist, is no PNG or ``full``, or a component has another number of variants.
    """
    if variants is not None:
        groups = _groups(output, variants)
        for component, group in groups.items():
            if len(group) != COUNT:
                raise UsageError(
                    f"--variant: {_listed(component, group)}; the five severities are five variants of a component"
                )
    else:
        stored = _groups(output, [name for name in output.variants if _fits(name)])
        groups = {component: group for component, group in stored.items() if len(group) == COUNT}
        if not groups:
            counts = "; ".join(_listed(component, group) for component, group in stored.items()) or "no cut"
            raise UsageError(
                f"--variant: {output.root} has {counts}; the five severities are five variants of a component: "
                "choose five with --variant, or build more ranks"
            )
    return {NAMES[component]: _by_strength(component, group) for component, group in groups.items()}


def _groups(output: Output, names: Sequence[str]) -> dict[str, list[Variant]]:
    groups: dict[str, list[Variant]] = {}
    for name in names:
        if name not in output.variants:
            hint = nearest(name, output.variants)
            raise UsageError(f"variant {name!r}: {output.root} has {', '.join(output.variants)}{hint}")
        if not _fits(name):
            raise UsageError(f"--variant: {name} is no 8-bit cut, which severities are")
        variant = Variant.parse(name)
        groups.setdefault(variant.component, []).append(variant)
        if len(set(groups[variant.component])) < len(groups[variant.component]):
            raise UsageError(f"--variant: {name} is given twice")
    return groups


def _fits(name: str) -> bool:
    try:
        variant = Variant.parse(name)
    except ValueError:  # of a later version
        return False
    return not variant.exact and variant.component in NAMES


def _listed(component: str, group: Sequence[Variant]) -> str:
    return f"{len(group)} of {component} ({', '.join(variant.name for variant in group)})"


def _by_strength(component: str, group: Sequence[Variant]) -> tuple[str, ...]:
    if component != "band":
        group = sorted(group, key=lambda v: v.rank or v.radius, reverse=component in ("low", "lowpass"))
    return tuple(variant.name for variant in group)
