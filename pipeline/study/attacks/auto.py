"""AutoAttack in its standard version, by the package of its authors, pyautoattack.

F. Croce and M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020.
"""

import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.extras import require

LEAST_CLASSES = 4  # the loss of APGD-T compares four outputs
_STEPS = 100
_QUERIES = 5000
_TARGETS = 9  # classes that are aimed at


def check(classes: int) -> None:
    """Raises UsageError if there are too few classes for the attack, and PipelineError if pyautoattack is not installed."""
    if classes < LEAST_CLASSES:
        raise UsageError(f"--autoattack needs {LEAST_CLASSES} classes or more; these images have {classes}")
    require("study", "pyautoattack")


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
    from pyautoattack import AutoAttack

    attack = AutoAttack(classifier, norm="Linf", eps=eps, version="standard", seed=seed, device=x.device)
    for steps in (attack.apgd, attack.apgd_targeted, attack.fab):
        steps.n_iter = _STEPS
    for targeted in (attack.apgd_targeted, attack.fab):
        targeted.n_target_classes = min(classes - 1, _TARGETS)
    attack.square.n_queries = _QUERIES
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        adversarial, _ = attack.run_standard_evaluation(x.contiguous(), labels, batch_size=len(x))
    found: Tensor = adversarial.detach()
    return found
