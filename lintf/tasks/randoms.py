"""Random numbers for the prompts: a library's bits, turned into normal and chi variates.

The transform is our own so that a seed means the same prompts for ever: NumPy guarantees the words
of its bit generators, torch does not guarantee those of `randn` across releases, and every stored
run is verified against them. It has a compiled form too (draw.cpp), which starts from the same
32-bit words and differs in rounding only; the functions here are the definition, in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy import special
from torch import Tensor

from lintf import kernel

REACH = 6.8  # no |z| is larger: sqrt(2 * 33 ln 2) = 6.77
DEGREE = 16  # of the polynomial z -> chi
BLOCK = 2**13  # words are fetched in blocks that stay in the cache
FEW = 10  # below so many degrees of freedom chi^2 is summed up from squares


def rng(generator: torch.Generator) -> np.random.SFC64:
    """Returns NumPy's SFC64, seeded by the next 63 bits of a torch generator: its words come four
    times faster. Raises ValueError for a generator that is not on the CPU."""
    if generator.device.type != "cpu":
        raise ValueError(f"generator must be a CPU torch.Generator, got one on {generator.device}")
    return np.random.SFC64(
        int(torch.randint(2**63 - 1, (), generator=generator, dtype=torch.int64, device="cpu"))
    )


def words(rngs: Sequence[np.random.SFC64], rows: int, B: int) -> np.ndarray:
    """Returns random bits, uint32 (E, rows, B) with rows made even: one stream for each member
    e."""
    rows += rows % 2
    out = np.empty((len(rngs), rows * B // 2), dtype=np.uint64)
    for stream, source in zip(out, rngs, strict=True):
        for block in np.split(stream, range(BLOCK, len(stream), BLOCK)):
            block[:] = source.random_raw(len(block))
    return out.view(np.uint32).reshape(len(rngs), rows, B)


def below(bits: np.ndarray, bound: int | np.ndarray) -> np.ndarray:
    """Returns int64 uniform in 0 .. bound - 1 for a positive bound up to 2^31, from 32-bit words:
    floor(word * bound / 2^32). Two values differ in probability by 2^-32 at most."""
    out = bits.astype(np.uint64)
    out *= np.asarray(bound, dtype=np.uint64)
    out >>= np.uint64(32)
    return out.view(np.int64)


def normals(bits: np.ndarray, dtype: torch.dtype, d: int) -> Tensor:
    """Returns N(0, 1) variates of the shape of the words: Box and Muller's transform of every two
    rows. In either dtype they carry a word's 32 bits: no |z| exceeds 6.77, and none of a pair is 0
    with the other. The compiled code for dimension d serves; the variates do not depend on d.
    Raises ValueError for words that are not uint32 (..., an even number of rows, B)."""
    bits = kernel.check_words(bits)
    if dtype == torch.float32 and not kernel.unavailable(d, dtype):
        return kernel.normals(bits, d)
    real = np.float64 if dtype == torch.float64 else np.float32
    u = (
        torch.from_numpy(bits[..., ::2, :].astype(real))
        .mul_(2**-32)
        .add_(2**-33)
        .clamp_(max=1 - 2**-24)
    )
    turns = torch.from_numpy(bits.view(np.int32)[..., 1::2, :].astype(real))
    angle = turns.mul_(2 * math.pi * 2**-32)  # in [-pi, pi]
    radius = u.log_().mul_(-2).sqrt_()
    return torch.stack((radius * angle.cos(), radius * angle.sin()), -2).flatten(-3, -2).to(dtype)


def rows_of_chi(k: int) -> int:
    """Returns how many normals a chi variate with k degrees of freedom takes."""
    return k if k < FEW else 1


def chi(z: Tensor, degrees: Sequence[int]) -> Tensor:
    """Returns chi variates (..., m, B) with these m degrees of freedom, none larger than the one
    before, from normals (..., rows, B), for each its rows_of_chi(k): the root of their sum of
    squares or, from one normal, F^-1(Phi(z)) by the polynomial `chi_coefficients`."""
    many = [k for k in degrees if k >= FEW]
    t, *few = z.split([len(many), *degrees[len(many) :]], -2)
    found = [part.square().sum(-2, keepdim=True).sqrt() for part in few]
    if many:
        t = t / REACH
        highest, *lower = torch.from_numpy(_coefficients(tuple(many))).to(t).unbind()  # (m, 1) each
        out = highest.expand_as(t).clone()
        for c in lower:
            out.mul_(t).add_(c)
        found.insert(0, out)
    return torch.cat(found, -2)


@lru_cache(maxsize=256)
def _coefficients(degrees: tuple[int, ...]) -> np.ndarray:
    """Returns the coefficients for all of these degrees, (DEGREE + 1, m, 1), the highest power
    first."""
    return np.stack([chi_coefficients(k)[::-1] for k in degrees], 1)[..., None]


@lru_cache(maxsize=256)
def chi_coefficients(k: int) -> np.ndarray:
    """Returns the coefficients in (z / REACH)^j, j = 0 .. DEGREE, of z -> F^-1(Phi(z)), F the chi
    distribution's function for k >= 10 degrees of freedom: the monotone map that takes a normal
    variate to a chi variate. It is smooth, and nearly linear; interpolated at Chebyshev's points
    the error stays below 3e-8, float32's rounding."""
    points = np.cos(np.pi * (np.arange(4 * DEGREE) + 0.5) / (4 * DEGREE))
    z = REACH * points
    below = special.gammaincinv(k / 2, special.ndtr(z))
    above = special.gammainccinv(k / 2, special.ndtr(-z))  # keeps its digits where Phi(z) is near 1
    values = np.sqrt(2 * np.where(z < 0, below, above))
    fit = np.polynomial.Chebyshev.fit(points, values, DEGREE, domain=[-1, 1])
    return fit.convert(kind=np.polynomial.Polynomial).coef
