"""Settings of a process that computes: one BLAS thread, and a heap that keeps its memory."""

import ctypes
import functools
import sys

# Parameters of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


@functools.cache
def prepare() -> None:
    """Applies the settings. Call it before the first batch; further calls do nothing.

    - One BLAS thread per worker, because the workers already use every core.
    - Up to 256 MB of freed memory stay with the process. By default glibc returns every array above 128 KB to the kernel
      and faults it in again for the next batch. At 32 x 32 that took half the time of the cuts.
    """
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl and macOS have none, and do not need it
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, 1 << 28)
        mallopt(_TOP_PAD, 1 << 24)


def prepare_loader_worker() -> None:
    """Calls ``prepare`` in a worker of torch's DataLoader, and does nothing in other processes.

    By default each worker would start a BLAS thread per core, and these threads would wait for each other's cores.
    """
    torch = sys.modules.get("torch")  # a process that has not imported it is no such worker
    if torch is not None and torch.utils.data.get_worker_info() is not None:
        prepare()
