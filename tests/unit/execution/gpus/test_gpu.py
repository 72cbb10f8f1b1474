"""A GPU's memory and the memory that is shared with its process: batches that do not fit, and processes that end."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.execution.gpus import client, gpu, server
from pipeline.execution.gpus.server import Server
from pipeline.execution.gpus.slots import Slot, attach, bytes_of, views
from pipeline.numerics import eigen
from pipeline.numerics.batch import Computed, compute
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import variants
from tests.conftest import smooth
from tests.unit.execution.gpus import fake

xp: Any = fake
RECIPE = Recipe(variants((1, 5), ("low", "high", "full"), exact=True), 24, factors=5)


@pytest.fixture
def pixels() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([smooth(rng, 24, 24).transpose(2, 0, 1) for _ in range(10)])


def on_arrays(pixels: np.ndarray) -> Computed:
    """Computes on a core what a GPU computes, by the same steps. The kernels of a core round float32 arrays differently."""
    return compute(pixels, RECIPE, np, eigen.leading)


def assert_same(actual: Computed, expected: Computed) -> None:
    assert list(actual.cuts) == list(expected.cuts)
    for variant, cut in expected.cuts.items():
        np.testing.assert_array_equal(actual.cuts[variant].pixels, cut.pixels)
        assert actual.cuts[variant].statistics == cut.statistics
    for name, rows in expected.rows.items():
        np.testing.assert_array_equal(actual.rows[name], rows)


def test_a_gpu_returns_what_a_core_computes_by_the_same_steps(pixels: np.ndarray) -> None:
    assert_same(client.in_process(gpu.Gpu(xp))(pixels, RECIPE)(), on_arrays(pixels))


def test_a_batch_that_does_not_fit_is_halved_until_it_does(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "MOST", [pixels[:3].nbytes])
    small = gpu.Gpu(xp)
    assert_same(client.in_process(small)(pixels, RECIPE)(), on_arrays(pixels))
    assert small.halved == 2  # 10, 5, 2
    assert_same(client.in_process(small)(pixels, RECIPE)(), on_arrays(pixels))
    assert small.halved == 2  # the size is remembered


def test_a_gpu_with_little_free_memory_computes_small_batches(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    real = fake.Array.set

    def watched(self: fake.Array, array: np.ndarray, stream: Any = None) -> None:
        sizes.append(len(array))
        real(self, array, stream)

    monkeypatch.setattr(fake.Array, "set", watched)
    monkeypatch.setattr(fake.cuda.runtime, "memGetInfo", lambda: (4 * 8 * 24 * 4 * pixels[0].size, 1 << 40))
    client.in_process(gpu.Gpu(xp))(pixels, RECIPE)()
    assert sizes == [4, 4, 2]


def test_a_core_computes_an_image_that_is_too_large_for_the_gpu(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "MOST", [100])
    assert_same(client.in_process(gpu.Gpu(xp))(pixels, RECIPE)(), compute(pixels, RECIPE))
    assert_same(client_of(Server("tests.unit.execution.gpus.fake")).begin(pixels, RECIPE)(), compute(pixels, RECIPE))


def test_a_gpu_that_fails_in_this_process_ends_the_build_with_one_line(pixels: np.ndarray, tmp_path: Path) -> None:
    with fake.faults(tmp_path, "sticky"), pytest.raises(PipelineError, match="GPU failed .*illegal memory access"):
        client.in_process(gpu.Gpu(xp))(pixels, RECIPE)()


def client_of(instance: Server) -> client.Client:
    """Returns a client in the process of its server."""
    return client.Client(lambda order: lambda: instance.compute(order))


def test_results_in_shared_memory_have_the_bytes_of_the_same_steps_on_a_core(pixels: np.ndarray) -> None:
    ours = client_of(Server("tests.unit.execution.gpus.fake"))
    waiting = [ours.begin(pixels[i : i + 4], RECIPE) for i in (0, 3, 6)]
    for i, wait in zip((0, 3, 6), waiting, strict=True):
        assert_same(wait(), on_arrays(pixels[i : i + 4]))
    first, second = ours.begin(pixels[:2], RECIPE), ours.begin(pixels[2:7], RECIPE)  # in slots that earlier orders used
    assert_same(second(), on_arrays(pixels[2:7]))
    assert_same(first(), on_arrays(pixels[:2]))


def test_orders_reuse_slots_that_are_large_enough(pixels: np.ndarray) -> None:
    numbers = []
    instance = Server("tests.unit.execution.gpus.fake")

    def send(order: Any) -> Any:
        numbers.append(order.number)
        return lambda: instance.compute(order)

    ours, large = client.Client(send), np.zeros((300, 3, 24, 24), np.uint8)
    waiting = [ours.begin(large, RECIPE), ours.begin(pixels, RECIPE)]
    for wait in waiting:
        wait()
    for images in (pixels, large, large, pixels):
        ours.begin(images, RECIPE)()
    first, second, *again = numbers
    assert again == [second, first, first, second]


def test_the_slot_of_a_failed_order_is_not_used_again(pixels: np.ndarray) -> None:
    numbers = []

    def send(order: Any) -> Any:
        numbers.append(order.number)
        return lambda: server.Answer(lost="gone")

    ours = client.Client(send)
    for _ in range(3):
        with pytest.raises(client.GpuLost, match="gone"):
            ours.begin(pixels, RECIPE)()
    assert len(set(numbers)) == 3


def test_a_sticky_error_ends_the_process_after_its_answer(pixels: np.ndarray, tmp_path: Path) -> None:
    code = (
        "from tests.unit.execution.gpus.test_gpu import RECIPE, client_of\n"
        "from tests.conftest import smooth; import numpy as np, time\n"
        "from pipeline.execution.gpus.server import Server; from pipeline.execution.gpus.client import GpuLost\n"
        "ours, pixels = client_of(Server('tests.unit.execution.gpus.fake')), np.zeros((2, 3, 24, 24), np.uint8)\n"
        "for _ in range(2):\n"
        "    try: ours.begin(pixels, RECIPE)()\n"
        "    except GpuLost as error: print(error, flush=True)\n"
        "time.sleep(30)"
    )
    with fake.faults(tmp_path, "sticky"):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 1, ended
    assert ended.stdout.count("CUDARuntimeError: cudaErrorIllegalAddress: an illegal memory access") == 2


def test_a_slot_is_shared_until_its_owner_closes_it(pixels: np.ndarray) -> None:
    slot = Slot(bytes_of(pixels.shape, RECIPE))
    order = slot.order(pixels.shape, RECIPE)
    attached = attach(order)
    views(slot.memory, pixels.shape, RECIPE)[0][...] = pixels
    np.testing.assert_array_equal(views(attached, pixels.shape, RECIPE)[0], pixels)
    del slot
    with pytest.raises(OSError):
        attach(order)


def test_the_oldest_slots_are_released(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SLOTS", 2)
    monkeypatch.setattr(fake, "PINNED", {})
    instance = Server("tests.unit.execution.gpus.fake")
    for _ in range(5):  # each new client's first order uses a new slot
        assert_same(client_of(instance).begin(pixels, RECIPE)(), on_arrays(pixels))
        assert set(fake.PINNED) == {server._address(memory) for memory in instance._slots.values()}
    assert len(instance._slots) == 2
    instance.close()
    assert not fake.PINNED


def test_memory_that_cannot_be_pinned_is_still_copied(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: int) -> None:
        raise fake.CUDARuntimeError("cudaErrorNotSupported")

    monkeypatch.setattr(fake.cuda.runtime, "hostRegister", refused)
    monkeypatch.setattr(fake.cuda.runtime, "hostUnregister", refused)
    instance = Server("tests.unit.execution.gpus.fake")
    assert_same(client_of(instance).begin(pixels, RECIPE)(), on_arrays(pixels))
    instance.close()
