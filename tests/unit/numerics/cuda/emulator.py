"""CuPy's RawModule on NumPy's arrays: kernels in CUDA C++ are compiled for a core, and run there thread by thread.

It tells whether a kernel is right, and nothing of how fast it is. ``emulator.h`` has the threads.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

COMPILER = shutil.which("g++")
ORDER = [0]  # in which the threads of a block go on: 0 or 1, forwards or backwards, else a seed
_HEADER = Path(__file__).with_name("emulator.h")
_CACHE = Path(__file__).with_name("__pycache__")
_KERNEL = re.compile(r'extern "C" __global__ void(?: __launch_bounds__\([^\n]*?\))? (\w+)\(([^)]*)\)')


class RawModule:
    """CuPy's, of code whose kernels are declared ``extern "C"``."""

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        self._library = _compiled(code, options)

    def get_function(self, name: str) -> "Function":
        return Function(self._library, name)


class Function:
    """A kernel. Launches take as much shared memory as they ask for, and no more than has been allowed."""

    def __init__(self, library: ctypes.PyDLL, name: str) -> None:
        self._launch = getattr(library, f"launch_{name}")
        self._launch.restype = ctypes.c_char_p
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], given: tuple[Any, ...], shared_mem: int = 0
    ) -> None:
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        assert len(block) == 1
        assert all(isinstance(one, np.generic) or one._host.flags.c_contiguous for one in given)
        values = [np.array(one if isinstance(one, np.generic) else one._host.ctypes.data) for one in given]
        pointers = (ctypes.c_void_p * len(given))(*(value.ctypes.data for value in values))
        x, y = (*grid, 1)[:2]
        wrong = self._launch(x, y, block[0], ORDER[0], shared_mem, pointers)
        if wrong:
            raise RuntimeError(wrong.decode())


def _compiled(code: str, options: tuple[str, ...]) -> ctypes.PyDLL:
    """A library with a function ``launch_NAME`` for every kernel, kept for the next process."""
    launchers = [_launcher(name, parameters) for name, parameters in _KERNEL.findall(code)]
    source = "\n".join([f'#include "{_HEADER}"', _SHARED, code.replace("extern __shared__", "extern"), *launchers])
    key = hashlib.sha256("".join([_HEADER.read_text(), source, *options]).encode()).hexdigest()[:16]
    library = _CACHE / f"{key}.so"
    if not library.exists():
        assert COMPILER, "takes g++"
        _CACHE.mkdir(exist_ok=True)
        made = _CACHE / f"{key}.{os.getpid()}"
        flags = [*options, "-O2", "-g", "-fPIC", "-shared", "-w", "-U_FORTIFY_SOURCE", "-ffp-contract=off"]
        subprocess.run([COMPILER, *flags, "-x", "c++", "-", "-o", str(made)], input=source, text=True, check=True)
        made.rename(library)
    return ctypes.PyDLL(str(library))  # one thread at a time: it has one block


# What a launch can ask for of shared memory; what it has not asked for must stay as it is.
_SHARED = """
extern double shared[];
double shared[32768];
static const double untouched = -1.25e300;
"""


def _launcher(name: str, parameters: str) -> str:
    kinds = [re.sub(r"\w+$", "", one.replace("__restrict__", "").strip()) for one in parameters.split(",")]
    # what is not a pointer is const for the kernel alone
    kinds = [kind if "*" in kind else kind.replace("const ", "") for kind in kinds]
    values = ", ".join(f"*({kind}*)given[{i}]" for i, kind in enumerate(kinds))
    return f"""
extern "C" const char* launch_{name}(
    unsigned x, unsigned y, unsigned threads, unsigned order, size_t bytes, void** given)
{{
  for (double& one : shared) one = untouched;
  cuda::launch({{x, y}}, {{threads}}, order, [&] {{ {name}({values}); }});
  for (size_t i = bytes / sizeof *shared; cuda::wrong.empty() && i < sizeof shared / sizeof *shared; ++i)
    if (shared[i] != untouched) cuda::wrong = "it writes beyond its shared memory";
  return cuda::wrong.empty() ? nullptr : cuda::wrong.c_str();
}}"""
