"""The process that has a card: computes what others put into their slots. An actor of Ray; several threads call it."""

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
from pipeline.execution.gpus.card import Card, describe
from pipeline.execution.gpus.slots import Order, attach, views
from pipeline.numerics import runtime
from pipeline.numerics.cut import Statistics
from pipeline.numerics.variants import Variant

# Orders in work at once, each on its own thread and stream: one is copied in and one out while one is computed.
THREADS = 3
_SLOTS = max(96, 4 * (os.cpu_count() or 1))  # that are kept mapped and pinned; a process has two or three
_ALL_SHOWN = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"
_LAST_WORDS = 0.5  # seconds for the answer to leave before the process ends


@dataclass(frozen=True)
class Answer:
    """To an order: what was counted of its cuts, and planes that LAPACK had to get right.

    Attributes:
        fits: false where one image alone is too large for the card; nothing has been computed.
        lost: why the card computes no more; empty where it does.
    """

    statistics: dict[Variant, Statistics] = field(default_factory=dict)
    repaired: int = 0
    fits: bool = True
    lost: str = ""


class Server:
    """Computes on the first card that this process sees.

    Args:
        namespace: the module whose arrays live on the card: ``cupy``, or what stands in for it in tests.
    """

    def __init__(self, namespace: str) -> None:
        runtime.prepare()
        device.wait_asleep()
        self._xp = importlib.import_module(namespace)
        self._card, self._lock, self._lost = Card(self._xp), threading.Lock(), ""
        self._described = ""
        self._slots: OrderedDict[tuple[int, int], mmap] = OrderedDict()

    def ready(self) -> str:
        """The card and its libraries in words, once it has computed something; no answer where it is about to be replaced.

        Raises:
            PipelineError: it cannot compute: CUDA's libraries are missing or too old, say.
        """
        if os.environ.get(_ALL_SHOWN, "0") not in ("", "0"):
            raise PipelineError(
                f"{_ALL_SHOWN} is set, with which every process takes the first card; start Ray without it"
            )
        while self._lost:
            time.sleep(_LAST_WORDS)
        self._described = self._described or describe(self._xp)
        return self._described

    def compute(self, order: Order) -> Answer:
        """Compute what a slot holds, in place.

        An error of the card ends the process soon after the answer: most such errors stay with a process
        (``cudaErrorIllegalAddress``), and Ray starts another one.

        Raises:
            OSError: who ordered it is gone.
        """
        if self._lost:
            return Answer(lost=self._lost)
        try:
            pixels, out = views(self._mapped(order), order.shape, order.recipe)
            return Answer(*self._card.compute(pixels, order.recipe, out))
        except MemoryError:
            return Answer(fits=False)
        except RuntimeError as error:  # CuPy's errors of CUDA, cuBLAS and cuSOLVER are such
            self._lost = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            threading.Timer(_LAST_WORDS, os._exit, (1,)).start()
            return Answer(lost=self._lost)

    def close(self) -> None:
        """Let all slots go, when no order is in work. The end of the process does as well."""
        while self._slots:
            self._forget()

    def _forget(self) -> None:
        """The slot unused for longest. CUDA has to let go of memory first: it would take what comes to lie at the same
        address for the old."""
        _, oldest = self._slots.popitem(last=False)
        with contextlib.suppress(self._xp.cuda.runtime.CUDARuntimeError):
            self._xp.cuda.runtime.hostUnregister(_address(oldest))

    def _mapped(self, order: Order) -> mmap:
        """The order's slot, pinned, so that the card copies straight from it and into it."""
        key, cuda = (order.pid, order.number), self._xp.cuda.runtime
        with self._lock:
            if key not in self._slots:
                self._slots[key] = attach(order)
                with contextlib.suppress(cuda.CUDARuntimeError):  # copies of what is not pinned are slower, not wrong
                    cuda.hostRegister(_address(self._slots[key]), order.size, 0)
            self._slots.move_to_end(key)
            if len(self._slots) > _SLOTS:  # of processes that are gone, or unused for longest: no thread is at it
                self._forget()
            return self._slots[key]


def _address(memory: mmap) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)
