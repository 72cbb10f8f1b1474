"""Promise: every input of a parser ends in a result or an allowed error, within the bounds of time and memory.

Tries every seed, every input of earlier findings, and mutations of them for a moment. ``make fuzz`` continues from there.
"""

import random
import time

import pytest

from tests.fuzz import harness, mutate

MUTATIONS, SECONDS = 400, 1.5  # of each parser, whichever ends first


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # for the parsers that save an index


@pytest.mark.parametrize("name", harness.names())
def test_every_input_ends_in_a_result_or_in_one_of_the_parsers_errors(name):
    target = harness.load(name)
    inputs = harness.inputs(name, target)
    for data in inputs:
        harness.trial(target, data)
    rng, end = random.Random(name), time.monotonic() + SECONDS
    for _ in range(MUTATIONS):
        data = rng.choice(inputs)
        harness.trial(target, mutate.of_json(data, rng) if target.JSON else mutate.of_bytes(data, rng))
        if time.monotonic() > end:
            break


class _Bad:
    """A parser that never ends, raises an error that is not allowed, or raises an error without a message."""

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
    if data == b"memory":  # this process may have had a higher peak before
        monkeypatch.setattr(harness, "_peak", lambda: next(peaks, 2 * harness.MEMORY))
    with pytest.raises(error):
        harness.trial(_Bad(), data)


def test_an_allowed_error_is_no_finding():
    harness.trial(_Bad(), b"allowed")
