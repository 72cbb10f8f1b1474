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
    yield pytest.param("a new build", 45, id="a new build, every 45th")
    for case in CASES:
        yield pytest.param(case, 1, id=f"{case}, every one", marks=pytest.mark.full)


@pytest.mark.parametrize(("case", "every"), list(_runs()))
def test_every_request(case: str, every: int, wire: FailingWire, url: str, server: S3Server) -> None:
    """The build dies before a request, or after it."""
    command, before = CASES[case]
    initial = f"{url}/initial"
    if before:
        assert wire.build(*before, url=initial)[:2] == (0, "")
    server.copy(initial, f"{url}/whole")
    undisturbed_run = wire.build(*command, url=f"{url}/whole")
    assert undisturbed_run[:2] == (0, "")
    whole = undisturbed(*(word for word in command if word != "--overwrite"))
    assert digests(server, f"{url}/whole") == whole
    for when in (BEFORE, AFTER):
        unfinished_uploads = 0
        for at in range(1 if when == BEFORE else 2, undisturbed_run.requests + 1, every):
            place, note = f"{url}/{when}/{at}", f"{when} request {at} of {undisturbed_run.requests}"
            server.copy(initial, place)
            old = digests(server, place)
            died = wire.build(*command, url=place, at=at, when=when)
            if died.status == 0 and died.requests < at:  # it was quicker, and so its heart beat less often
                assert undisturbed_run.requests - at < _BEATS, (note, died)
                break
            assert died[:2] == (-signal.SIGKILL, ""), (note, died)
            unfinished_uploads += len(server.uploads(place))
            _check_files(server, place, old, whole, note)
            again = wire.build(*command, url=place)
            assert (again.status, _without_waiting(again.err)) == (0, ""), (note, again)
            assert digests(server, place) == whole, note
            assert server.uploads(place) == [], note
        total = undisturbed_run.requests
        print(f"\n{case}: killed {when} every {every} of {total} requests; {unfinished_uploads} uploads unfinished")


def _check_files(server: S3Server, url: str, old: dict[str, str], whole: dict[str, str], note: str) -> None:
    """Checks that every file is an old or a new one; with a manifest, all are old or all are new."""
    files = digests(server, url)
    assert all(digest in (old.get(name), whole.get(name)) for name, digest in files.items()), note
    if "manifest.json" in files:
        assert files in (old, whole), note


def _without_waiting(err: str) -> str:
    return "".join(line for line in err.splitlines() if not line.startswith("another run was building this output"))
