"""The compiled code of the fast path, in C++, never needed.

kernel.cpp has predictions, loss and gradient, draw.cpp prompts, lines.cpp the loss along lines. It
is built on first use with whatever C++ compiler is there, and is an accelerator only: `unavailable`
says why it cannot be used (no compiler, a GPU, ...), and models/gram.py, tasks/linear.py and
tasks/randoms.py then take their plain PyTorch path, and analysis/landscape.py too, with the same
numbers up to rounding. LINTF_KERNEL=off switches it off.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from lintf.kernel import build

MAX_D = 32  # the unrolled code grows as d^2


def unavailable(
    d: int, dtype: torch.dtype, device: str = "cpu", library: str = "kernel"
) -> str | None:
    """Returns None where there is compiled code, else the reason why not, in words.

    d: the dimension of the covariates.
    dtype: that of the parameters and the statistics.
    device: the type of their device, without a number.
    library: "kernel" (prompts, loss and gradient) or "lines".
    """
    if device != "cpu":
        return f"the device is {device}"
    if dtype not in (torch.float32, torch.float64):
        return f"the dtype is {dtype}"
    if d > MAX_D:
        return f"d = {d} > {MAX_D}"
    if os.environ.get("LINTF_KERNEL", "on") == "off":
        return "LINTF_KERNEL=off"
    built = build.library(d, library)
    return built if isinstance(built, str) else None


def in_memory(t: Tensor) -> bool:
    """Says whether t is numbers in memory and nothing more: neither a tensor inside a transform of
    torch.func, nor a dual number, nor one without data. Only such a tensor can be given to compiled
    code."""
    try:
        here = t.data_ptr() != 0 or t.numel() == 0
    except RuntimeError:  # torch's answer for a tensor without storage
        return False
    return here and forward_ad.unpack_dual(t).tangent is None


def loss_and_grad(
    P: Tensor, Q: Tensor, S: Tensor, s: Tensor, x: Tensor, y: Tensor, N: int, grad: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the mean squared error over the B prompts (...) and its gradients with respect to P
    and Q (..., L, H, d, d), which are empty without `grad`. Sums run in a fixed order, so that the
    result does not depend on the number of threads.

    P, Q: (..., L, H, d, d), the parameters; Q is not yet divided by N.
    S, s, x, y: the statistics as in `Gram`, with the leading axes of P, or none (shared by all).
    N: how many examples went into the statistics.
    grad: whether the gradients are wanted.
    Raises ValueError where shapes, dtypes or devices do not fit together.
    """
    *lead, L, H, d, _ = P.shape
    parts, _ = _run(P, Q, S, s, x, y, N, grad=grad)
    mean = (parts.sum(1) / y.shape[-1]).to(P.dtype)
    if not grad:
        empty = P.new_empty(0)
        return mean[:, 0].reshape(lead), empty, empty
    gP, gQ = mean[:, 1:].reshape(*lead, 2, L, H, d, d).unbind(-5)
    return mean[:, 0].reshape(lead), gP, gQ / N


def predictions(P: Tensor, Q: Tensor, S: Tensor, s: Tensor, x: Tensor, N: int) -> Tensor:
    """Returns the answers to the queries, (..., B).

    P, Q, S, s, x, N: as for `loss_and_grad`, which also needs the labels.
    """
    return -_run(P, Q, S, s, x, torch.zeros_like(x[..., 0, :]), N, each=True)[1]


def _run(
    P: Tensor,
    Q: Tensor,
    S: Tensor,
    s: Tensor,
    x: Tensor,
    y: Tensor,
    N: int,
    grad: bool = False,
    each: bool = False,
) -> tuple[Tensor, Tensor]:
    """Returns the squared error and the gradients, summed over chunks of prompts, (E, chunks, 1 or
    more) in float64, and, with `each`, the residuals (..., B) of all prompts."""
    *lead, L, H, d, _ = P.shape
    B, E, shared = y.shape[-1], P[..., 0, 0, 0, 0].numel(), S.dim() == 3
    P, Q = P.detach().contiguous(), (Q.detach() / N).contiguous()
    data = [t.contiguous() for t in (S, s, x, y)]
    shapes = [(*([] if shared else lead), *shape) for shape in ((d, d, B), (d, B), (d, B), (B,))]
    given = [(t.dtype, t.device.type, *t.shape) for t in (*data, Q)]
    if given != [(P.dtype, "cpu", *shape) for shape in (*shapes, P.shape)]:
        # What follows reads raw memory.
        raise ValueError("shapes, dtypes or devices do not fit together")
    library, weights = _library(d, "kernel"), L * H * d * d
    chunks = -(-B // library.chunk_size())
    parts, residuals = (
        _empty((E, chunks, 1 + 2 * weights * grad), torch.float64),
        _empty((*lead, B * each), P.dtype),
    )
    run = library.run_f32 if P.dtype == torch.float32 else library.run_f64
    pointers = [t.data_ptr() for t in (P, Q, *data, parts)]
    run(
        E,
        L,
        H,
        B,
        shared,
        grad,
        torch.get_num_threads(),
        *pointers,
        residuals.data_ptr() if each else None,
    )
    return parts, residuals


def lines(
    P: Tensor, Q: Tensor, dP: Tensor, dQ: Tensor, S: Tensor, s: Tensor, x: Tensor, y: Tensor, N: int
) -> Tensor:
    """Returns the loss along the lines P + t dP, Q + t dQ: (..., K, 3), its value and its first and
    second derivative at t = 0, in float64. The loss is the mean over the prompts.

    P, Q, S, s, x, y, N: as for `loss_and_grad`.
    dP, dQ: (K, L, H, d, d), the same directions for all members, or (..., K, L, H, d, d).
    Raises ValueError where shapes, dtypes or devices do not fit together.
    """
    *lead, L, H, d, _ = P.shape
    K, B, E = dP.shape[-5], y.shape[-1], P[..., 0, 0, 0, 0].numel()
    shared_data, shared_lines = S.dim() == 3, dP.dim() == 5
    weights = [t.detach().contiguous() for t in (P, Q / N, dP, dQ / N)]
    data = [t.contiguous() for t in (S, s, x, y)]
    shapes = [
        (*([] if shared_data else lead), *shape) for shape in ((d, d, B), (d, B), (d, B), (B,))
    ]
    line = (*([] if shared_lines else lead), K, L, H, d, d)
    given = [(t.dtype, t.device.type, *t.shape) for t in (*data, *weights[1:])]
    if given != [(P.dtype, "cpu", *shape) for shape in (*shapes, P.shape, line, line)]:
        # What follows reads raw memory.
        raise ValueError("shapes, dtypes or devices do not fit together")
    library = _library(d, "lines")
    chunks = -(-B // library.chunk_size())
    parts = _empty((E, K, chunks, 3), torch.float64)
    run = library.lines_f32 if P.dtype == torch.float32 else library.lines_f64
    sizes = (E, K, L, H, B, shared_data, shared_lines, torch.get_num_threads())
    run(*sizes, *map(Tensor.data_ptr, (*weights, *data, parts)))
    return (parts.sum(2) / B).view(*lead, K, 3)


def check_words(words: np.ndarray) -> np.ndarray:
    """Returns the words (..., rows, B), of which every two rows are a pair, in one piece of memory.
    Raises ValueError for another dtype than uint32 and for an odd number of rows."""
    if words.dtype != np.uint32 or words.ndim < 2 or words.shape[-2] % 2:
        raise ValueError(
            f"words must be uint32 (..., an even number of rows, B), got {words.dtype} "
            f"{words.shape}"
        )
    return np.ascontiguousarray(words)


def normals(words: np.ndarray, d: int) -> Tensor:
    """Returns what `randoms.normals` returns, in float32, by the compiled code for d."""
    words = check_words(words)
    *rows, B = words.shape
    z = _empty(words.shape, torch.float32)
    run = _library(d, "kernel").normals_f32
    run(math.prod(rows), B, torch.get_num_threads(), words.ctypes.data, z.data_ptr())
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
    """Returns what `_wishart` of tasks/linear.py draws, in float32: S, s, x, y of E members.

    words: uint32 (E, rows, B), the random bits.
    d: the dimension of the covariates.
    few: (m,), for each diagonal entry of Bartlett's factor how many squares are summed up, 0 where
        the polynomial is used.
    chi: (m, terms), the polynomials' coefficients in (z / reach)^j, from j = 0 on.
    reach: the largest |z| of a normal variate.
    root, root_w: (E, d, d), factors C with C C^T = Sigma and Sigma_w; None is the identity.
    noise_std: the standard deviation of the noise on the examples' labels.
    Raises ValueError where shapes or devices do not fit together.
    """
    words, few = check_words(words), np.array(few, dtype=np.int64)
    E, rows, B = words.shape
    m, terms = chi.shape
    below = m * (m - 1) // 2 + (d - m) * m  # entries of Bartlett's factor
    needed = below + int(few.clip(min=1).sum()) + 2 * d + (m if noise_std else 0)
    fit = m <= d and few.shape == (m,) and few.min() >= 0 and rows >= needed
    if not fit or any(
        r is not None and (r.shape != (E, d, d) or r.device.type != "cpu") for r in (root, root_w)
    ):
        raise ValueError("shapes or devices do not fit together")  # what follows reads raw memory
    chi = np.ascontiguousarray(chi, dtype=np.float32)
    roots = [None if r is None else r.float().contiguous() for r in (root, root_w)]
    S, s, x, y = (_empty((E, *shape, B), torch.float32) for shape in ((d, d), (d,), (d,), ()))
    sizes = (E, B, rows, m, terms - 1, torch.get_num_threads(), reach, noise_std)
    inputs = (
        few.ctypes.data,
        words.ctypes.data,
        chi.ctypes.data,
        *(r if r is None else r.data_ptr() for r in roots),
    )
    _library(d, "kernel").gram_f32(*sizes, *inputs, *map(Tensor.data_ptr, (S, s, x, y)))
    return S, s, x, y


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Returns memory for compiled code to write to, whatever dtype and device a user has made the
    default."""
    return torch.empty(shape, dtype=dtype, device="cpu")


def vector_bytes(d: int) -> int:
    """Says how wide the vectors are that the compiled code for this d works with. Raises
    RuntimeError without any."""
    return _library(d, "kernel").vector_bytes()


@cache
def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next batch, up to 1 GB, instead of giving it back to
    the system and asking for it again: those page faults can cost as much as a training step. Does
    nothing where there is no glibc."""
    if platform.libc_ver()[0] == "glibc":
        # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD.
        libc, trim_threshold, mmap_threshold = (ctypes.CDLL(None), -1, -3)
        if not libc.mallopt(mmap_threshold, 2**28):
            libc.mallopt(mmap_threshold, 2**25)  # the largest value that older versions take
        libc.mallopt(trim_threshold, 2**30)


@cache
def _library(d: int, name: str) -> ctypes.CDLL:
    """Returns the library of this name for this d. Raises RuntimeError where there is none, which
    `unavailable` explains."""
    library = build.library(d, name)
    if isinstance(library, str):
        raise RuntimeError(f"the compiled kernel cannot be used: {library}")
    size, flag, real, pointer = ctypes.c_int64, ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    signatures = {
        "run_f32": [size] * 4 + [flag] * 3 + [pointer] * 8,
        "run_f64": [size] * 4 + [flag] * 3 + [pointer] * 8,
        "normals_f32": [size, size, flag, pointer, pointer],
        "gram_f32": [size] * 5 + [flag, real, real] + [pointer] * 9,
        "lines_f32": [size] * 5 + [flag] * 3 + [pointer] * 9,
        "lines_f64": [size] * 5 + [flag] * 3 + [pointer] * 9,
    }
    for function, types in signatures.items():
        if (name == "lines") == function.startswith("lines"):
            getattr(library, function).argtypes, getattr(library, function).restype = types, None
    library.chunk_size.restype = size
    if name == "kernel":
        library.vector_bytes.restype = size
    return library
