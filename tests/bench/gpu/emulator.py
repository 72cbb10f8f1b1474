"""A substitute for CuPy's RawModule: compiles kernels in CUDA C++ for the CPU, and runs them there thread by thread.

It shows whether a kernel is right, but not how fast it is. ``emulator.h`` implements the threads.
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
ORDER = [0]  # in which the threads of a block run: 0 forwards, 1 backwards, otherwise a seed
_HEADER = Path(__file__).with_name("emulator.h")
_CACHE = Path(__file__).with_name("__pycache__")
_KERNEL = re.compile(r'extern "C" __global__ void(?: __launch_bounds__\([^\n]*?\))? (\w+)\(([^)]*)\)')


class RawModule:
    """Compiled code whose kernels are declared ``extern "C"``."""

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        self._library = _compiled(code, options)

    def get_function(self, name: str) -> "Function":
        return Function(self._library, name)


class Function:
    """A kernel. A launch may not use more shared memory than it requests, nor request more than is allowed."""

    def __init__(self, library: ctypes.PyDLL, name: str) -> None:
        self._launch = getattr(library, f"launch_{name}")
        self._launch.restype = ctypes.c_char_p
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], shared_mem: int = 0
    ) -> None:
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        assert len(block) == 1
        assert all(isinstance(each, np.generic) or each._host.flags.c_contiguous for each in arguments)
        values = [np.array(each if isinstance(each, np.generic) else each._host.ctypes.data) for each in arguments]
        pointers = (ctypes.c_void_p * len(arguments))(*(value.ctypes.data for value in values))
        x, y = (*grid, 1)[:2]
        mistake = self._launch(x, y, block[0], ORDER[0], shared_mem, pointers)
        if mistake:
            raise RuntimeError(mistake.decode())


def _compiled(code: str, options: tuple[str, ...]) -> ctypes.PyDLL:
    """Returns a library with a function ``launch_NAME`` for every kernel. It is cached for other processes."""
    launchers = [_launcher(name, parameters) for name, parameters in _KERNEL.findall(code)]
    source = "\n".join([f'#include "{_HEADER}"', _SHARED, code.replace("extern __shared__", "extern"), *launchers])
    key = hashlib.sha256("".join([_HEADER.read_text(), source, *options]).encode()).hexdigest()[:16]
    library = _CACHE / f"{key}.so"
    if not library.exists():
        assert COMPILER, "needs g++"
        _CACHE.mkdir(exist_ok=True)
        new = _CACHE / f"{key}.{os.getpid()}"
        flags = [*options, "-O2", "-g", "-fPIC", "-shared", "-w", "-U_FORTIFY_SOURCE", "-ffp-contract=off"]
        subprocess.run([COMPILER, *flags, "-x", "c++", "-", "-o", str(new)], input=source, text=True, check=True)
        new.rename(library)
    return ctypes.PyDLL(str(library))  # PyDLL holds the GIL: the library runs one launch at a time


# Shared memory of a launch. What lies beyond its request must stay untouched.
_SHARED = """
extern double shared[];
double shared[32768];
static const double untouched = -1.25e300;
"""


def _launcher(name: str, parameters: str) -> str:
    kinds = [re.sub(r"\w+$", "", each.replace("__restrict__", "").strip()) for each in parameters.split(",")]
    # Values are const only inside of the kernel.
    kinds = [kind if "*" in kind else kind.replace("const ", "") for kind in kinds]
    values = ", ".join(f"*({kind}*)given[{i}]" for i, kind in enumerate(kinds))
    return f"""
extern "C" const char* launch_{name}(
    unsigned x, unsigned y, unsigned threads, unsigned order, size_t bytes, void** given)
{{
  for (double& word : shared) word = untouched;
  cuda::launch({{x, y}}, {{threads}}, order, [&] {{ {name}({values}); }});
  for (size_t i = bytes / sizeof *shared; cuda::wrong.empty() && i < sizeof shared / sizeof *shared; ++i)
    if (shared[i] != untouched) cuda::wrong = "it writes beyond its shared memory";
  return cuda::wrong.empty() ? nullptr : cuda::wrong.c_str();
}}"""
