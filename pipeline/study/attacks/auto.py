"""AutoAttack in its standard version, from the attacks of the package torchattacks.

F. Croce and M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020.

``torchattacks.AutoAttack`` itself makes 10 steps where the paper makes 100.
"""

import importlib.util

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError, UsageError

LEAST_CLASSES = 4  # the loss of APGD-T compares four outputs
_MODULE = "torchattacks"
_STEPS = 100
_QUERIES = 5000
_TARGETS = 9  # classes that are aimed at


def check(classes: int) -> None:
    """Raises UsageError if there are too few classes for the attack, and PipelineError if torchattacks is not installed."""
    if classes < LEAST_CLASSES:
        raise UsageError(f"--autoattack needs {LEAST_CLASSES} classes or more; these images have {classes}")
    if importlib.util.find_spec(_MODULE) is None:
        raise PipelineError(
            "--autoattack needs torchattacks: pip install --no-deps torchattacks==3.5.1 (with its dependencies pip would "
            "install an old version of requests, which attacks do not use)"
        )


def auto_attack(classifier: nn.Module, x: Tensor, labels: Tensor, eps: float, classes: int, seed: int) -> Tensor:
    """Returns adversarial images, within eps of ``x`` in the L-infinity norm and within [0, 1].

    APGD on the cross-entropy, targeted APGD, targeted FAB (100 steps each, 9 targets) and Square (5,000 queries) attack one
    after the other the images that are still classified correctly. There is no target that all of them share.

    Args:
        classifier: takes float32 (n, 3, h, w) in [0, 1], returns logits; in evaluation mode.
        x: float32 (n, 3, h, w) in [0, 1].
        labels: int64 (n,), the true classes.
        eps: largest change of a subpixel.
        classes: number of outputs.
        seed: of the starts.
    """
    import torchattacks

    count = min(classes, _TARGETS + 1)
    steps = {"eps": eps, "norm": "Linf", "seed": seed, "n_restarts": 1, "steps": _STEPS}
    ensemble = torchattacks.MultiAttack(
        [
            torchattacks.APGD(classifier, loss="ce", **steps),
            torchattacks.APGDT(classifier, n_classes=count, **steps),
            torchattacks.FAB(classifier, n_classes=count, multi_targeted=True, **steps),
            torchattacks.Square(classifier, eps=eps, norm="Linf", seed=seed, n_restarts=1, n_queries=_QUERIES),
        ]
    )
    devices = [x.device] if x.is_cuda else []
    with torch.random.fork_rng(devices):
        adversarial: Tensor = ensemble(x.contiguous(), labels)
    return adversarial.detach()
