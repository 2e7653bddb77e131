"""The random numbers behind the prompts: their laws, and that both forms take the same words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from lintf.tasks import randoms


def generator(seed):
    return torch.Generator().manual_seed(seed)


def draw(rows, B, seed=0, dtype=torch.float32):
    return randoms.normals(randoms.words([randoms.rng(generator(seed))], rows, B), dtype, 3)[0]


def test_words_are_numpys_stream():
    """Blocks are a matter of speed only: the words are those of one call."""
    B, seed = 30_001, 5
    seeded = int(torch.randint(2**63 - 1, (), generator=generator(seed)))
    plain = np.random.SFC64(seeded).random_raw(2 * B).view(np.uint32).reshape(4, B)
    assert np.array_equal(randoms.words([randoms.rng(generator(seed))], 3, B)[0], plain)


@pytest.mark.parametrize("k", [10, 11, 16, 20, 37, 1000, 20_000, 10**6])
def test_the_polynomial_is_the_chi_quantile(k):
    """Against scipy's inverse distribution function, over all z that can occur; float32 rounds at
    6e-8 relative."""
    z = np.linspace(-6.77, 6.77, 801)
    exact = np.where(z < 0, stats.chi.ppf(stats.norm.cdf(z), k), stats.chi.isf(stats.norm.sf(z), k))
    ours = randoms.chi(torch.from_numpy(z)[None], [k])[0].numpy()
    assert np.abs(ours - exact).max() <= 3e-8 * max(1.0, exact.max())


@pytest.mark.parametrize("k", [1, 2, 9, 10, 20, 500])
def test_chi_variates_follow_their_law(k):
    rows = randoms.rows_of_chi(k)
    sample = randoms.chi(draw(rows, 100_000, seed=k)[:rows], [k])[0].double()
    assert stats.kstest(sample, stats.chi(k).cdf).pvalue > 1e-3
    # Variance of chi^2 is 2 k.
    assert abs(float(sample.square().mean()) - k) < 5 * (2 * k / 1e5) ** 0.5


def test_several_chi_variates_are_those_of_each():
    """Of degrees on both sides of where a polynomial serves, some of them alike; two members."""
    degrees = [20, 12, 12, 10, 9, 2, 1]
    rows = [randoms.rows_of_chi(k) for k in degrees]
    z = torch.stack([draw(sum(rows), 11, seed)[: sum(rows)] for seed in (1, 2)])
    alone = [randoms.chi(part, [k]) for part, k in zip(z.split(rows, 1), degrees, strict=True)]
    assert rows == [1, 1, 1, 1, 9, 2, 1]
    assert torch.equal(randoms.chi(z, degrees), torch.cat(alone, 1))


def test_normals_follow_their_law_and_do_not_know_each_other():
    n = 200_000
    z = draw(4, n).double()
    for row in z:
        assert stats.kstest(row, "norm").pvalue > 1e-3
    r = torch.corrcoef(torch.cat((z, z.square())))
    off = r - torch.diag(r.diagonal())
    # Of z and z^2, within and across the pairs of Box and Muller.
    assert off.abs().max() < 5 / n**0.5
    assert abs(float(z.pow(4).mean()) - 3) < 5 * (96 / (4 * n)) ** 0.5  # variance of z^4 is 105 - 9


def test_the_ends_of_the_word_range():
    """All zeros give the largest radius, all ones the smallest, and neither gives 0, infinity or
    NaN."""
    words = np.array([[0, 2**32 - 1, 0, 2**32 - 1], [0, 0, 2**31, 2**32 - 1]], dtype=np.uint32)[
        None
    ]
    for dtype in (torch.float32, torch.float64):
        z = randoms.normals(words, dtype, 3)[0]
        assert z.isfinite().all()
        assert float(z.abs().max()) == pytest.approx((2 * 33 * np.log(2)) ** 0.5, rel=1e-6)
        assert (z.norm(dim=0) > 1e-5).all()
        assert float(z.abs().max()) < randoms.REACH


@pytest.mark.parametrize("rows", [2, 5])
def test_compiled_and_plain_normals_are_the_same_numbers(rows, monkeypatch):
    """Up to float32 rounding of the radius (at most 6.8) and the angle (at most pi); B is no
    multiple of the lanes."""
    compiled = draw(rows, 1037)
    monkeypatch.setenv("LINTF_KERNEL", "off")
    plain, exact = draw(rows, 1037), draw(rows, 1037, dtype=torch.float64)
    assert (compiled - plain).abs().max() < 6.8 * 2**-21
    assert (compiled - exact).abs().max() < 6.8 * 2**-21
    assert not torch.equal(compiled, draw(rows, 1037, seed=1))
