"""Runs networks in several threads, each with one core: at small batches faster than one network on all cores."""

import copy
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

import threadpoolctl
import torch

from pipeline.study.networks.network import Network

Item = TypeVar("Item")
Result = TypeVar("Result")
_ON_GPU = 4  # threads that cut images for a GPU
_POLL = 0.2  # seconds between calls of ``poll``


class Ticks:
    """Counts what threads have done, and ends them when it is stopped.

    Attributes:
        done: units of work that are done.
    """

    def __init__(self) -> None:
        self.done, self._stopped, self._lock = 0, False, threading.Lock()

    def stop(self) -> None:
        """Ends every thread at its next unit."""
        self._stopped = True

    def __call__(self, units: int) -> None:
        with self._lock:
            self.done += units
        if self._stopped:
            raise _Stopped


class _Stopped(Exception):
    """Ends the work of a thread."""


def split_cores() -> int:
    """Returns the number of threads for ``in_threads``, and limits torch and BLAS to one core in each of them.

    The number is that of torch's threads, which ``OMP_NUM_THREADS`` sets. Call it before networks are loaded.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1, user_api="blas")
    return threads


def in_threads(
    work: Callable[[Sequence[Network], Item, Ticks], Result],
    networks: Sequence[Network],
    items: Iterable[Item],
    threads: int = 1,
    poll: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Item, Result]]:
    """Yields each item with its result, in the order in which they are finished.

    Each thread has its own copy of the networks, because modules may store values between their layers.

    Args:
        work: called with networks, an item, and the counter for its units of work.
        threads: number of threads; at most four if a network is on a GPU, which holds their copies.
        poll: called five times a second with the units done.
    """
    threads = threads if all(network.device.type == "cpu" for network in networks) else min(threads, _ON_GPU)
    ticks, free = Ticks(), queue.SimpleQueue[Sequence[Network]]()
    for number in range(threads):
        free.put(copy.deepcopy(networks) if number else networks)

    def run(item: Item) -> Result:
        own = free.get()
        try:
            return work(own, item, ticks)
        finally:
            free.put(own)

    remaining = iter(items)
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),))
    try:
        pending = {pool.submit(run, item): item for item in islice(remaining, threads)}
        while pending:
            finished, _ = wait(pending, _POLL, FIRST_COMPLETED)
            poll(ticks.done)
            for future in finished:
                item = pending.pop(future)
                for following in islice(remaining, 1):
                    pending[pool.submit(run, following)] = following
                yield item, future.result()
    finally:
        ticks.stop()
        pool.shutdown()
