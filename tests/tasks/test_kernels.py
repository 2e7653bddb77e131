"""Labels from Gaussian processes: their covariances, and what is no covariance."""

from __future__ import annotations

import math

import pytest
import torch

from lintf.tasks.kernels import KERNELS, KernelRegression, covariance, gram_matrix

N, D = 4, 3


def generator(seed):
    return torch.Generator().manual_seed(seed)


def points(n, seed=0):
    X = torch.randn(n, D, generator=generator(seed), dtype=torch.float64)
    return X / X.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_against_loops(kernel):
    X = points(6)
    K = gram_matrix(X, kernel)
    for i in range(6):
        for j in range(6):
            t = sum(float(a * b) for a, b in zip(X[i], X[j], strict=True))
            expected = {"linear": t, "relu": max(t, 0.0), "exp": math.exp(t)}[kernel]
            assert float(K[i, j]) == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("kernel", KERNELS)
def test_covariance_has_the_moduli_of_the_eigenvalues(kernel):
    X = points(12, seed=1)
    K, C = gram_matrix(X, kernel), covariance(X, kernel)
    values = torch.linalg.eigvalsh(K)
    torch.testing.assert_close(C @ C, K @ K, rtol=1e-9, atol=1e-10)
    assert torch.linalg.eigvalsh(C)[0] > -1e-12
    if kernel == "relu":
        assert values[0] < -0.01, "max(t, 0) is no kernel"
    else:
        torch.testing.assert_close(C, K, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_labels_have_the_covariance(kernel):
    """Along its eigenvectors they are independent normals of the eigenvalues' variances, and 0
    where these are. The matrix of max(t, 0) has the rank of the dimension where all t are
    positive."""
    B = 20_000
    prompts = KernelRegression(N, D, kernel).sample(B, generator(2), "tokens", torch.float64)
    X, labels = prompts.Z[..., :-1], prompts.labels
    torch.testing.assert_close(X.norm(dim=-1), torch.ones(B, N + 1).double())
    C = covariance(X, kernel)
    # E y_i y_j = E C_ij over prompts, to four standard errors.
    gap = labels.unsqueeze(-1) * labels.unsqueeze(-2) - C
    assert (gap.mean(0).abs() < 4.5 * gap.std(0) / B**0.5).all()
    values, vectors = torch.linalg.eigh(C)
    along = (vectors.mT @ labels.unsqueeze(-1))[..., 0]
    known = values > 1e-9
    assert along[~known].abs().max() < 1e-6 if (~known).any() else kernel == "exp"
    z = along[known] / values[known].sqrt()
    assert abs(z.mean()) < 4 / len(z) ** 0.5
    assert abs(z.square().mean() - 1) < 4 * (2 / len(z)) ** 0.5
    assert abs(z.pow(4).mean() - 3) < 4 * (96 / len(z)) ** 0.5


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_those_of_the_tokens(kernel, dtype):
    task = KernelRegression(N, D, kernel)
    tokens, gram = (task.sample(9, generator(3), name, dtype) for name in task.representations)
    assert tokens.Z.dtype == gram.S.dtype == dtype
    for name, t in gram.tensors.items():
        assert torch.equal(t, getattr(tokens.gram(), name))


@pytest.mark.parametrize("fields", [{"N": 0}, {"d": 0}, {"kernel": "cosine"}, {"kernel": 1}])
def test_fields_out_of_range(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        KernelRegression(**fields)


@pytest.mark.parametrize("kernel", ["relu", "exp"])
def test_labels_are_the_same_whatever_the_signs_of_the_eigenvectors(kernel, monkeypatch):
    """LAPACKs differ in them."""
    task = KernelRegression(N, D, kernel)
    expected = task.sample(3, generator(5), "tokens", torch.float64).labels
    eigh = torch.linalg.eigh

    def turned(K):
        values, vectors = eigh(K)
        signs = torch.tensor([-1.0, 1.0, -1.0, -1.0, 1.0], dtype=vectors.dtype)
        return values, vectors * signs

    monkeypatch.setattr(torch.linalg, "eigh", turned)
    found = task.sample(3, generator(5), "tokens", torch.float64).labels
    torch.testing.assert_close(found, expected)
