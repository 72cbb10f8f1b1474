"""A card's memory, and the memory that is shared with it: what does not fit, and who dies."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.execution.gpus import card, client, server
from pipeline.execution.gpus.server import Server
from pipeline.execution.gpus.slots import Slot, attach, bytes_of, views
from pipeline.numerics import batch as computing
from pipeline.numerics.batch import Recipe, compute
from pipeline.numerics.variants import variants
from tests.conftest import smooth
from tests.unit.execution.gpus import fake

xp: Any = fake
RECIPE = Recipe(variants((1, 5), ("low", "high", "full"), exact=True), 24, factors=5)


@pytest.fixture
def pixels() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([smooth(rng, 24, 24).transpose(2, 0, 1) for _ in range(10)])


def same(found: computing.Computed, expected: computing.Computed) -> None:
    assert list(found.cuts) == list(expected.cuts)
    for variant, one in expected.cuts.items():
        np.testing.assert_array_equal(found.cuts[variant].pixels, one.pixels)
        assert found.cuts[variant].statistics == one.statistics
    for name, rows in expected.rows.items():
        np.testing.assert_array_equal(found.rows[name], rows)


def test_what_comes_back_from_a_card_is_what_a_core_computes(pixels: np.ndarray) -> None:
    same(client.in_process(card.Card(xp))(pixels, RECIPE)(), compute(pixels, RECIPE))


def test_a_batch_that_does_not_fit_is_halved_until_it_does(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "MOST", [pixels[:3].nbytes])
    small = card.Card(xp)
    same(client.in_process(small)(pixels, RECIPE)(), compute(pixels, RECIPE))
    assert small.halved == 2  # 10, 5, 2
    same(client.in_process(small)(pixels, RECIPE)(), compute(pixels, RECIPE))
    assert small.halved == 2  # it is remembered


def test_a_card_with_little_free_memory_takes_small_batches(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    real = fake.Array.set

    def watched(self: fake.Array, array: np.ndarray, stream: Any = None) -> None:
        taken.append(len(array))
        real(self, array, stream)

    monkeypatch.setattr(fake.Array, "set", watched)
    monkeypatch.setattr(fake.cuda.runtime, "memGetInfo", lambda: (4 * 8 * 24 * 4 * pixels[0].size, 1 << 40))
    client.in_process(card.Card(xp))(pixels, RECIPE)()
    assert taken == [4, 4, 2]


def test_an_image_that_is_too_large_for_the_card_is_computed_on_a_core(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "MOST", [100])
    same(client.in_process(card.Card(xp))(pixels, RECIPE)(), compute(pixels, RECIPE))
    same(ordered(Server("tests.unit.execution.gpus.fake")).begin(pixels, RECIPE)(), compute(pixels, RECIPE))


def test_a_card_that_fails_in_this_process_ends_the_build_in_one_line(pixels: np.ndarray, tmp_path: Path) -> None:
    with fake.faults(tmp_path, "sticky"), pytest.raises(PipelineError, match="the card failed .*illegal memory access"):
        client.in_process(card.Card(xp))(pixels, RECIPE)()


def ordered(one: Server) -> client.Client:
    """A client in this very process, as if the server were in another."""
    return client.Client(lambda order: lambda: one.compute(order))


def test_orders_in_shared_memory_have_the_bytes_of_a_core(pixels: np.ndarray) -> None:
    ours = ordered(Server("tests.unit.execution.gpus.fake"))
    waiting = [ours.begin(pixels[i : i + 4], RECIPE) for i in (0, 3, 6)]
    for i, wait in zip((0, 3, 6), waiting, strict=True):
        same(wait(), compute(pixels[i : i + 4], RECIPE))
    one, two = ours.begin(pixels[:2], RECIPE), ours.begin(pixels[2:7], RECIPE)  # in slots that were used before
    same(two(), compute(pixels[2:7], RECIPE))
    same(one(), compute(pixels[:2], RECIPE))


def test_orders_of_every_size_find_slots_that_hold_them(pixels: np.ndarray) -> None:
    numbers = []
    one = Server("tests.unit.execution.gpus.fake")

    def send(order: Any) -> Any:
        numbers.append(order.number)
        return lambda: one.compute(order)

    ours, large = client.Client(send), np.zeros((300, 3, 24, 24), np.uint8)
    waiting = [ours.begin(large, RECIPE), ours.begin(pixels, RECIPE)]
    for wait in waiting:
        wait()
    for some in (pixels, large, large, pixels):
        ours.begin(some, RECIPE)()
    first, second, *again = numbers
    assert again == [second, first, first, second]


def test_a_slot_whose_order_was_given_up_is_not_used_again(pixels: np.ndarray) -> None:
    numbers = []

    def send(order: Any) -> Any:
        numbers.append(order.number)
        return lambda: server.Answer(lost="gone")

    ours = client.Client(send)
    for _ in range(3):
        with pytest.raises(client.CardLost, match="gone"):
            ours.begin(pixels, RECIPE)()
    assert len(set(numbers)) == 3


def test_a_sticky_error_ends_the_process_after_it_has_been_told(pixels: np.ndarray, tmp_path: Path) -> None:
    code = (
        "from tests.unit.execution.gpus.test_card import RECIPE, ordered\n"
        "from tests.conftest import smooth; import numpy as np, time\n"
        "from pipeline.execution.gpus.server import Server; from pipeline.execution.gpus.client import CardLost\n"
        "ours, pixels = ordered(Server('tests.unit.execution.gpus.fake')), np.zeros((2, 3, 24, 24), np.uint8)\n"
        "for _ in range(2):\n"
        "    try: ours.begin(pixels, RECIPE)()\n"
        "    except CardLost as error: print(error, flush=True)\n"
        "time.sleep(30)"
    )
    with fake.faults(tmp_path, "sticky"):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 1, ended
    assert ended.stdout.count("CUDARuntimeError: cudaErrorIllegalAddress: an illegal memory access") == 2


def test_a_slot_is_shared_while_its_owner_has_it(pixels: np.ndarray) -> None:
    slot = Slot(bytes_of(pixels.shape, RECIPE))
    order = slot.order(pixels.shape, RECIPE)
    theirs = attach(order)
    views(slot.memory, pixels.shape, RECIPE)[0][...] = pixels
    np.testing.assert_array_equal(views(theirs, pixels.shape, RECIPE)[0], pixels)
    del slot
    with pytest.raises(OSError):
        attach(order)


def test_the_oldest_slots_are_let_go(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SLOTS", 2)
    monkeypatch.setattr(fake, "PINNED", {})
    one = Server("tests.unit.execution.gpus.fake")
    for _ in range(5):  # a client's first order takes a new slot
        same(ordered(one).begin(pixels, RECIPE)(), compute(pixels, RECIPE))
        assert set(fake.PINNED) == {server._address(memory) for memory in one._slots.values()}
    assert len(one._slots) == 2
    one.close()
    assert not fake.PINNED


def test_memory_that_cannot_be_pinned_is_copied_all_the_same(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: int) -> None:
        raise fake.CUDARuntimeError("cudaErrorNotSupported")

    monkeypatch.setattr(fake.cuda.runtime, "hostRegister", refused)
    monkeypatch.setattr(fake.cuda.runtime, "hostUnregister", refused)
    one = Server("tests.unit.execution.gpus.fake")
    same(ordered(one).begin(pixels, RECIPE)(), compute(pixels, RECIPE))
    one.close()
