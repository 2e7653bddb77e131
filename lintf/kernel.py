"""The compiled CPU code of the fast path: kernel.cpp (loss and gradient) and draw.cpp (prompts).

It is built on first use with whatever C++ compiler is there, and is an accelerator only: `unavailable` says why it
cannot be used (no compiler, a GPU, ...), and gram.py, prompts.py and randoms.py then take their plain PyTorch path,
with the same numbers up to rounding. LINTF_KERNEL=off switches it off.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SOURCES = [Path(__file__).with_name(name) for name in ("kernel.cpp", "draw.cpp", "lanes.h")]
FLAGS = ["-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-ffp-contract=fast", "-fno-math-errno"]
MAX_D = 32  # the unrolled code grows as d^2


def unavailable(d: int, dtype: torch.dtype, device: str = "cpu") -> str | None:
    """None where there is compiled code for this d, dtype and type of device, else the reason why not, in words."""
    if device != "cpu":
        return f"the device is {device}"
    if dtype not in (torch.float32, torch.float64):
        return f"the dtype is {dtype}"
    if d > MAX_D:
        return f"d = {d} > {MAX_D}"
    if os.environ.get("LINTF_KERNEL", "on") == "off":
        return "LINTF_KERNEL=off"
    library = _library(d)
    return library if isinstance(library, str) else None


def loss_and_grad(
    P: Tensor, Q: Tensor, S: Tensor, s: Tensor, x: Tensor, y: Tensor, N: int, grad: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean squared error over the prompts (...) and its gradients with respect to P and Q (..., L, H, d, d).

    Without `grad` the gradients are empty. The statistics have the leading axes of P, or none (shared by all).
    Sums run in a fixed order, so that the result does not depend on the number of threads.
    """
    *lead, L, H, d, _ = P.shape
    B, E, shared = y.shape[-1], P[..., 0, 0, 0, 0].numel(), S.dim() == 3
    P, Q = P.detach().contiguous(), (Q.detach() / N).contiguous()
    data = [t.contiguous() for t in (S, s, x, y)]
    shapes = [(*([] if shared else lead), *shape) for shape in ((d, d, B), (d, B), (d, B), (B,))]
    if [(t.dtype, *t.shape) for t in (*data, Q)] != [(P.dtype, *shape) for shape in (*shapes, P.shape)]:
        raise ValueError("shapes or dtypes do not fit together")  # what follows reads raw memory
    library, weights = _library(d), L * H * d * d
    chunks = -(-B // library.chunk_size())
    parts = torch.empty(E, chunks, 1 + 2 * weights * grad, dtype=torch.float64)  # sums over chunks of prompts
    run = library.run_f32 if P.dtype == torch.float32 else library.run_f64
    run(E, L, H, B, shared, grad, torch.get_num_threads(), *map(Tensor.data_ptr, (P, Q, *data, parts)))
    mean = (parts.sum(1) / B).to(P.dtype)
    if not grad:
        empty = P.new_empty(0)
        return mean[:, 0].reshape(lead), empty, empty
    gP, gQ = mean[:, 1:].reshape(*lead, 2, L, H, d, d).unbind(-5)
    return mean[:, 0].reshape(lead), gP, gQ / N


def normals(words: np.ndarray, d: int) -> Tensor:
    """randoms.normals in float32."""
    *rows, B = words.shape
    z = torch.empty(words.shape, dtype=torch.float32)
    _library(d).normals_f32(math.prod(rows), B, torch.get_num_threads(), words.ctypes.data, z.data_ptr())
    return z


def draw_gram(
    words: np.ndarray,
    d: int,
    few: Sequence[int],
    chi: np.ndarray,
    reach: float,
    root: Tensor | None,
    root_w: Tensor | None,
    noise_std: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """prompts._wishart in float32: S, s, x, y of E members from words (E, rows, B). few: for each of the m diagonal
    entries of Bartlett's factor how many squares are summed up, 0 where the polynomial chi[i] in z / reach is used."""
    E, rows, B = words.shape
    m, terms = chi.shape
    few, chi = np.asarray(few, dtype=np.int64), np.ascontiguousarray(chi, dtype=np.float32)
    roots = [None if r is None else r.float().contiguous() for r in (root, root_w)]
    S, s, x, y = (torch.empty(E, *shape, B) for shape in ((d, d), (d,), (d,), ()))
    sizes = (E, B, rows, m, terms - 1, torch.get_num_threads(), reach, noise_std)
    inputs = (few.ctypes.data, words.ctypes.data, chi.ctypes.data, *(r if r is None else r.data_ptr() for r in roots))
    _library(d).gram_f32(*sizes, *inputs, *map(Tensor.data_ptr, (S, s, x, y)))
    return S, s, x, y


@cache
def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next batch, up to 1 GB, instead of giving it back to the system and asking
    for it again: those page faults can cost as much as a training step. Does nothing where there is no glibc."""
    if platform.libc_ver()[0] == "glibc":
        libc, trim_threshold, mmap_threshold = ctypes.CDLL(None), -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        if not libc.mallopt(mmap_threshold, 2**28):
            libc.mallopt(mmap_threshold, 2**25)  # the largest value that older versions take
        libc.mallopt(trim_threshold, 2**30)


@cache
def _library(d: int) -> ctypes.CDLL | str:
    """The kernel for this d, built if need be and kept in the user's cache; a string says why there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    compiler = named or [name for name in ("c++", "g++", "clang++") if shutil.which(name)][:1]
    if not compiler or not shutil.which(compiler[0]):
        return f"no C++ compiler found{f' under CXX={named[0]}' if named else ''}"
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, text=True).stdout
        sources = [path.read_text() for path in SOURCES]
        key = hashlib.sha256(repr((sources, FLAGS, d, _processor(), version)).encode()).hexdigest()[:16]
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lintf"
        target = folder / f"kernel-d{d}-{key}.so"
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as tmp:  # built aside, then moved: never half a library
                built = Path(tmp) / "kernel.so"
                command = [*compiler, *FLAGS, f"-DDIM={d}", *map(str, SOURCES[:2]), "-o", str(built)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    return f"{compiler[0]} failed on the kernel: {done.stderr.strip()[-500:]}"
                os.replace(built, target)
        library = ctypes.CDLL(str(target))
    except (OSError, RuntimeError) as error:  # not runnable, cache not writable, no home
        return f"{error}"
    size, real, pointer = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
    library.run_f32.argtypes = library.run_f64.argtypes = [size] * 4 + [ctypes.c_int] * 3 + [pointer] * 7
    library.normals_f32.argtypes = [size, size, ctypes.c_int, pointer, pointer]
    library.gram_f32.argtypes = [size] * 5 + [ctypes.c_int, real, real] + [pointer] * 9
    for function in (library.run_f32, library.run_f64, library.normals_f32, library.gram_f32):
        function.restype = None
    library.chunk_size.restype = size
    return library


def _processor() -> str:
    """What -march=native may depend on: a cache shared between machines must not mix them up."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.machine() + platform.processor() + features
