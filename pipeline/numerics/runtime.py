"""What a process that computes sets up once: one BLAS thread, and a heap that is kept."""

import ctypes
import functools

# glibc's mallopt parameters (malloc.h)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


@functools.cache
def prepare() -> None:
    """Call before the first batch; further calls do nothing.

    One BLAS thread a worker: workers share the cores. And glibc gives every array above 128 KB back to the kernel and
    faults it in again for the next batch, which takes as long as the arithmetic (half the time of ``variants.cut`` at
    32 x 32): keep up to 256 MB of freed memory instead.
    """
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl and macOS have none, and need none
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, 1 << 28)
        mallopt(_TOP_PAD, 1 << 24)
