"""Process that owns a GPU: an actor of Ray that computes the contents of other processes' slots, in several threads."""

import contextlib
import importlib
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from mmap import mmap

import numpy as np

from pipeline.errors import PipelineError
from pipeline.execution import device
from pipeline.execution.gpus.gpu import Gpu, describe
from pipeline.execution.gpus.slots import Order, attach, views
from pipeline.numerics import runtime
from pipeline.numerics.statistics import Statistics
from pipeline.numerics.variants import Variant

# Orders in work at once, each in its own thread and stream: one is copied in, one is computed, and one is copied out.
THREADS = 3
_SLOTS = max(96, 4 * (os.cpu_count() or 1))  # that stay mapped and pinned; a worker has two or three
_ALL_VISIBLE = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"
_ANSWER_TIME = 0.5  # seconds for an answer to be sent before the process ends


@dataclass(frozen=True)
class Answer:
    """Answer to an order.

    Attributes:
        statistics: of the cuts.
        repaired: planes that the GPU solved wrongly and LAPACK solved again.
        fits: false where a single image is too large for the GPU; nothing was computed.
        lost: why the GPU can no longer be used; empty where it can.
    """

    statistics: dict[Variant, Statistics] = field(default_factory=dict)
    repaired: int = 0
    fits: bool = True
    lost: str = ""


class Server:
    """Computes on the first GPU that this process sees.

    Args:
        namespace: the module whose arrays are on the GPU: ``cupy``, or its substitute in tests.
    """

    def __init__(self, namespace: str) -> None:
        runtime.prepare()
        device.wait_asleep()
        self._xp = importlib.import_module(namespace)
        self._gpu, self._lock, self._lost = Gpu(self._xp), threading.Lock(), ""
        self._description = ""
        self._slots: OrderedDict[tuple[int, int], mmap] = OrderedDict()

    def ready(self) -> str:
        """Tests the GPU at the first call. Returns the names of the GPU and its libraries; never returns once it is lost.

        Raises:
            PipelineError: it cannot compute, for example because CUDA's libraries are missing or too old.
        """
        if os.environ.get(_ALL_VISIBLE, "0") not in ("", "0"):
            raise PipelineError(f"{_ALL_VISIBLE} is set, so every process uses the first GPU; start Ray without it")
        while self._lost:
            time.sleep(_ANSWER_TIME)
        self._description = self._description or describe(self._xp)
        return self._description

    def compute(self, order: Order) -> Answer:
        """Computes the contents of a slot, in place.

        After a CUDA error the process ends, shortly after its answer, and Ray starts another one. Most such errors
        (``cudaErrorIllegalAddress``) stay until the process ends.

        Raises:
            OSError: the process that sent the order has ended.
        """
        if self._lost:
            return Answer(lost=self._lost)
        try:
            pixels, out = views(self._mapped(order), order.shape, order.recipe)
            return Answer(*self._gpu.compute(pixels, order.recipe, out))
        except MemoryError:
            return Answer(fits=False)
        except RuntimeError as error:  # the base of CuPy's errors of CUDA, cuBLAS and cuSOLVER
            self._lost = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            threading.Timer(_ANSWER_TIME, os._exit, (1,)).start()
            return Answer(lost=self._lost)

    def close(self) -> None:
        """Releases all slots. No order may be in work. The end of the process does the same."""
        while self._slots:
            self._release_oldest()

    def _release_oldest(self) -> None:
        """Releases the slot that was unused for longest.

        CUDA must unregister the memory before it is unmapped: otherwise it would treat new memory at the same address as
        the old one.
        """
        _, oldest = self._slots.popitem(last=False)
        with contextlib.suppress(self._xp.cuda.runtime.CUDARuntimeError):
            self._xp.cuda.runtime.hostUnregister(_address(oldest))

    def _mapped(self, order: Order) -> mmap:
        """Returns the order's slot, mapped and pinned, so that the GPU copies directly from it and to it."""
        key, cuda = (order.pid, order.number), self._xp.cuda.runtime
        with self._lock:
            if key not in self._slots:
                self._slots[key] = attach(order)
                with contextlib.suppress(cuda.CUDARuntimeError):  # copies of memory that is not pinned are only slower
                    cuda.hostRegister(_address(self._slots[key]), order.size, 0)
            self._slots.move_to_end(key)
            if (
                len(self._slots) > _SLOTS
            ):  # the oldest belongs to a process that has ended, or is long unused: no thread has it
                self._release_oldest()
            return self._slots[key]


def _address(memory: mmap) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)
