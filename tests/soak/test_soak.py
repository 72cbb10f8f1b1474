"""Promise: whatever happens to builds, edits, growth and repairs in any order, the bytes at the end are the right ones.

``make soak`` draws new stories for as long as you want. A seed that has found a fault is listed here.
"""

from collections.abc import Iterator

import pytest

from pipeline.planning import manifest
from pipeline.storage.local_store import LocalStore
from tests.soak.play import Player

pytestmark = pytest.mark.fault

FOUND = {
    1: "verify compared images that it could not read with the size of their originals",
    11: "the dataset card changed with the hidden files of the source",
    59: "the same, in an output that grew",
}
ON_S3 = (24,)
MORE = range(100, 108)


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    with Player() as player:
        yield player


@pytest.mark.parametrize("seed", [*FOUND, *ON_S3, *MORE])
def test_story(seed: int, player: Player) -> None:
    played = player.play(seed)
    assert not played.failure, "\n".join([*played.events, played.failure])


def test_a_program_with_a_fault_fails(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program leaves the manifest in place while the files that it lists are replaced."""
    delete = LocalStore.delete
    monkeypatch.setattr(LocalStore, "delete", lambda store, name: name == manifest.NAME or delete(store, name))
    assert any("manifest" in player.play(seed).failure for seed in MUTANT)


MUTANT = range(200, 212)  # seeds, one of which grows an output and kills the build in the middle
