"""Promise: a build to object storage that dies at any request leaves no wrong file, and the same command completes it."""

import signal
from collections.abc import Iterator

import pytest

from tests.faults.builds import undisturbed
from tests.unit.storage.failing_wire import AFTER, BEFORE, FailingWire
from tests.unit.storage.s3_server import S3Server
from tests.unit.storage.test_s3_faults import digests

pytestmark = pytest.mark.fault

TINY = ("--dataset", "sample", "--splits", "train", "--samples-per-shard", "20", "--limit", "40")
CASES = {
    "a new build": ((*TINY, "--ranks", "3"), ()),
    "growth": ((*TINY, "--ranks", "3,5"), (*TINY, "--ranks", "3")),
    "overwriting": ((*TINY, "--ranks", "5", "--overwrite"), (*TINY, "--ranks", "3")),
}


_BEATS = 10  # number of heartbeats by which two builds may differ


@pytest.fixture
def wire(server: S3Server) -> Iterator[FailingWire]:
    with FailingWire() as wire:
        yield wire


def _runs() -> Iterator[object]:
    for case in CASES:
        for when in (BEFORE, AFTER):
            if case == "a new build":
                yield pytest.param(case, when, 27, id=f"{case}, {when} every 27th")
            yield pytest.param(case, when, 1, id=f"{case}, {when} every one", marks=pytest.mark.full)


@pytest.mark.parametrize(("case", "when", "every"), list(_runs()))
def test_every_request(case: str, when: str, every: int, wire: FailingWire, url: str, server: S3Server) -> None:
    command, before = CASES[case]
    found = f"{url}/found"
    if before:
        assert wire.build(*before, url=found)[:2] == (0, "")
    server.copy(found, f"{url}/whole")
    requests = wire.build(*command, url=f"{url}/whole")
    assert requests[:2] == (0, "")
    whole = undisturbed(*(word for word in command if word != "--overwrite"))
    assert digests(server, f"{url}/whole") == whole
    given_up = 0
    for at in range(1 if when == BEFORE else 2, requests.requests + 1, every):
        place = f"{url}/{at}"
        server.copy(found, place)
        old = digests(server, place)
        died = wire.build(*command, url=place, at=at, when=when)
        note = f"{when} request {at} of {requests.requests}"
        if died.status == 0 and died.requests < at:  # it was quicker, and so its heart beat less often
            assert requests.requests - at < _BEATS, (note, died)
            break
        assert died[:2] == (-signal.SIGKILL, ""), (note, died)
        given_up += len(server.uploads(place))
        _check_found(server, place, old, whole, note)
        again = wire.build(*command, url=place)
        assert (again.status, _but_waiting(again.err)) == (0, ""), (note, again)
        assert digests(server, place) == whole, note
        assert server.uploads(place) == [], note
    print(f"\n{case}: killed {when} every {every} of {requests.requests} requests; {given_up} uploads were given up")


def _check_found(server: S3Server, url: str, old: dict[str, str], whole: dict[str, str], note: str) -> None:
    """Checks that every file is an old or a new one; with a manifest, all are old or all are new."""
    found = digests(server, url)
    assert all(digest in (old.get(name), whole.get(name)) for name, digest in found.items()), note
    if "manifest.json" in found:
        assert found in (old, whole), note


def _but_waiting(err: str) -> str:
    return "".join(line for line in err.splitlines() if not line.startswith("another run was building this output"))
