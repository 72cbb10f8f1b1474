"""Promise: no input of a parser ends in anything but its errors, nor takes more time or memory than it may.

Here: every seed, every input that is kept of earlier findings, and a moment of mutation. ``make fuzz`` goes on from there.
"""

import random
import time

import pytest

from tests.fuzz import harness, mutate

MOST, SECONDS = 400, 1.5  # of mutation for each parser, whichever is less


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # of the parsers that save an index, one sets its own


@pytest.mark.parametrize("name", harness.names())
def test_every_input_ends_in_a_result_or_in_one_of_the_parsers_errors(name):
    target = harness.load(name)
    inputs = harness.inputs(name, target)
    for data in inputs:
        harness.trial(target, data)
    rng, end = random.Random(name), time.monotonic() + SECONDS
    for _ in range(MOST):
        data = rng.choice(inputs)
        harness.trial(target, mutate.of_json(data, rng) if target.JSON else mutate.of_bytes(data, rng))
        if time.monotonic() > end:
            break


class _Bad:
    """A parser that never ends, or raises what it may not, or nothing."""

    ALLOWED = (ValueError,)
    JSON = False

    def seeds(self):
        return []

    def parse(self, data: bytes) -> None:
        if data == b"time":
            while True:
                try:
                    sum(range(1000))
                except Exception:
                    continue
        if data == b"memory":
            return
        raise {b"allowed": ValueError("a reason"), b"silent": ValueError()}.get(data, KeyError("never"))


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"time", harness.Broken), (b"memory", harness.Broken), (b"silent", AssertionError), (b"other", KeyError)],
)
def test_a_trial_notices_what_breaks_the_promise(data, error, monkeypatch):
    monkeypatch.setattr(harness, "SECONDS", 0.2)
    peaks = iter([0, 2 * harness.MEMORY])
    if data == b"memory":  # the peak of a process that did more before says nothing
        monkeypatch.setattr(harness, "_peak", lambda: next(peaks, 2 * harness.MEMORY))
    with pytest.raises(error):
        harness.trial(_Bad(), data)


def test_an_allowed_error_is_no_finding():
    harness.trial(_Bad(), b"allowed")
