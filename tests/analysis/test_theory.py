"""Closed forms against random prompts, where their gradient is zero within standard errors;
hand-built weights and symmetric images of prompts against their definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from lintf.analysis.theory import (
    distance_to_identity,
    gradient_descent_weights,
    isotropic_weights,
    mapped,
    one_layer_optimum,
    symmetrised,
)
from lintf.models.linear import LinearTransformer
from lintf.tasks.batches import Gram, Prompts
from lintf.tasks.linear import LinearRegression

F64 = torch.float64


def generator(seed):
    return torch.Generator().manual_seed(seed)


def covariance(d, seed):
    M = torch.randn(d, d, generator=generator(seed), dtype=F64)
    return (M @ M.mT / d + 0.3 * torch.eye(d, dtype=F64)).tolist()


def matrix(d, seed):
    """Any invertible matrix, not symmetric."""
    return torch.eye(d, dtype=F64) + 0.4 * torch.randn(d, d, generator=generator(seed), dtype=F64)


# ---- one layer

TASKS = {
    "both covariances and noise": LinearRegression(
        7, 3, Sigma=covariance(3, 1), Sigma_w=covariance(3, 2), noise_std=0.8
    ),
    "both covariances": LinearRegression(4, 3, Sigma=covariance(3, 3), Sigma_w=covariance(3, 4)),
    "Sigma and noise": LinearRegression(5, 4, Sigma=covariance(4, 5), noise_std=1.5),
    "Sigma_w": LinearRegression(6, 2, Sigma_w=covariance(2, 6)),
    "isotropic, N < d": LinearRegression(2, 4),
}


def gradients(Q, prompts):
    """Of (prediction - y)^2 of every prompt (B, d, d): the prediction of one layer is -x^T Q s /
    N."""
    error = -(prompts.x * (Q @ prompts.s)).sum(0) / prompts.N - prompts.y
    return -2 / prompts.N * torch.einsum("b,ib,jb->bij", error, prompts.x, prompts.s)


def all_prompts(task):
    """Prompts and weights (B,) whose averages are expectations of the gradient exactly, by
    Gauss-Hermite quadrature in each normal variate: it has degree 4 in the examples' and degree 2
    in the others'."""
    N, d = task.N, task.d
    three = torch.tensor([[-math.sqrt(3), 0.0, math.sqrt(3)], [1 / 6, 2 / 3, 1 / 6]], dtype=F64)
    two = torch.tensor([[-1.0, 1.0], [0.5, 0.5]], dtype=F64)
    rules = [three] * (N * d) + [two] * (2 * d + N)
    grid = torch.stack(torch.meshgrid(*(r[0] for r in rules), indexing="ij")).flatten(1)
    weights = torch.stack(torch.meshgrid(*(r[1] for r in rules), indexing="ij")).flatten(1).prod(0)
    X, x, w, noise = grid.split([N * d, d, d, N])
    root, root_w = (
        torch.eye(d, dtype=F64) if S is None else torch.linalg.cholesky(torch.tensor(S, dtype=F64))
        for S in (task.Sigma, task.Sigma_w)
    )
    X, x, w = torch.einsum("ij,njb->nib", root, X.view(N, d, -1)), root @ x, root_w @ w
    Y = (X * w).sum(1) + task.noise_std * noise
    S, s = torch.einsum("nib,njb->ijb", X, X), (X * Y[:, None]).sum(0)
    return Gram(S, s, x, (x * w).sum(0), N), weights


def expected_gradient(Q, prompts, weights):
    return torch.einsum("b,bij->ij", weights, gradients(Q, prompts))


SMALL = {
    "both covariances and noise": LinearRegression(
        3, 2, Sigma=covariance(2, 1), Sigma_w=covariance(2, 2), noise_std=0.8
    ),
    "both covariances, N < d": LinearRegression(
        2, 3, Sigma=covariance(3, 3), Sigma_w=covariance(3, 4)
    ),
    "Sigma and noise": LinearRegression(2, 2, Sigma=covariance(2, 5), noise_std=1.5),
    "Sigma_w": LinearRegression(1, 3, Sigma_w=covariance(3, 6)),
    "isotropic": LinearRegression(4, 1),
}


@pytest.mark.parametrize("case", SMALL)
def test_the_exact_gradient_at_the_one_layer_optimum_is_zero(case):
    task = SMALL[case]
    prompts, weights = all_prompts(task)
    Q = one_layer_optimum(task)
    assert Q.dtype == F64
    assert Q.shape == (task.d, task.d)
    size = expected_gradient(torch.zeros_like(Q), prompts, weights).abs().max()
    assert size > 0.1
    assert expected_gradient(Q, prompts, weights).abs().max() < 1e-12 * size
    assert expected_gradient(1.001 * Q, prompts, weights).abs().max() > 1e-5 * size


def test_what_the_closed_form_depends_on_is_seen():
    """Sigma, Sigma_w, the noise and N: the optimum of a task without one of them is not this
    one's."""
    task = SMALL["both covariances and noise"]
    (prompts, weights), Q = all_prompts(task), one_layer_optimum(task)
    Sigma, Sigma_w = (torch.tensor(S, dtype=F64) for S in (task.Sigma, task.Sigma_w))
    assert (Sigma @ Sigma_w - Sigma_w @ Sigma).norm() > 0.1
    # Sigma_w (c Sigma Sigma_w + k)^-1 = (c Sigma + k Sigma_w^-1)^-1.
    assert (Q - Q.mT).norm() < 1e-12
    for change in (
        {"Sigma": None},
        {"Sigma_w": None},
        {"noise_std": 0.0},
        {"N": 8},
        {"Sigma_w": task.Sigma},
    ):
        other = one_layer_optimum(replace(task, **change))
        assert expected_gradient(other, prompts, weights).abs().max() > 0.01


@pytest.mark.parametrize("case", TASKS)
def test_the_gradient_on_drawn_prompts_is_zero_within_standard_errors(case):
    task = TASKS[case]
    prompts, Q = task.sample(40_000, generator(7), dtype=F64), one_layer_optimum(task)
    params = {
        "P": torch.zeros(1, 1, *Q.shape, dtype=F64),
        "Q": Q[None, None].clone().requires_grad_(),
    }
    (gradient,) = torch.autograd.grad(
        LinearTransformer(task.d, 1).loss(params, prompts), params["Q"]
    )
    torch.testing.assert_close(gradients(Q, prompts).mean(0), gradient[0, 0], rtol=1e-9, atol=1e-12)
    for factor, zero in ((1.0, True), (0.7, False), (1.4, False)):
        each = gradients(factor * Q, prompts)
        deviations = each.mean(0) / (each.std(0) / math.sqrt(len(each)))
        assert (deviations.abs().max() < 5) == zero


@pytest.mark.parametrize("N", [2, 9])
def test_theorem_1(N):
    """-U diag(1 / ((N + 1)/N lam_i + tr(Lam)/N)) U^T, for weights of covariance I."""
    Sigma = torch.tensor(covariance(5, 1), dtype=F64)
    lam, U = torch.linalg.eigh(Sigma)
    expected = -U @ torch.diag(1 / ((N + 1) / N * lam + lam.sum() / N)) @ U.mT
    for Sigma_w in (None, torch.eye(5).tolist()):
        ours = one_layer_optimum(LinearRegression(N, 5, Sigma=Sigma.tolist(), Sigma_w=Sigma_w))
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("N", [3, 20])
def test_one_layer_for_weights_of_the_inverse_covariance(N):
    Sigma = torch.tensor(covariance(4, 2), dtype=F64)
    inverse = torch.linalg.inv(Sigma)
    inverse = (inverse + inverse.mT) / 2
    ours = one_layer_optimum(LinearRegression(N, 4, Sigma=Sigma.tolist(), Sigma_w=inverse.tolist()))
    torch.testing.assert_close(ours, -N / (N + 5) * inverse, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("mode", ["sphere", "gamma"])
def test_the_closed_form_is_for_gaussian_covariates(mode):
    with pytest.raises(ValueError, match=f"mode must be 'normal'.*{mode!r}"):
        one_layer_optimum(LinearRegression(4, 3, mode))


# ---- hand-built weights


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_isotropic_weights_are_multiples(dtype):
    Pi = matrix(4, 1).to(dtype)
    params = isotropic_weights([0.5, 2.0, -3.0], (0.25, 0.75), Pi)
    for n in ("P", "Q"):
        assert params[n].shape == (3, 1, 4, 4)
        assert params[n].dtype == dtype
    for layer, (a, b) in enumerate(zip((0.5, 2.0, -3.0), (0.25, 0.75, 0.0), strict=True)):
        assert torch.equal(params["Q"][layer, 0], -a * Pi)
        assert torch.equal(params["P"][layer, 0], b * torch.eye(4, dtype=dtype))


def test_isotropic_weights_for_preconditioners_of_several_members():
    Pi = torch.stack([matrix(4, seed) for seed in (1, 2, 3)])
    together = isotropic_weights([0.5, 2.0], [0.25], Pi)
    for n in ("P", "Q"):
        assert together[n].shape == (3, 2, 1, 4, 4)
        assert together[n].is_contiguous()
        for e in range(3):
            assert torch.equal(together[n][e], isotropic_weights([0.5, 2.0], [0.25], Pi[e])[n])


@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [0.5]), ([1.0, 2.0], []), ([], []), ([1.0, 2.0], [1.0, 1.0, 1.0])]
)
def test_there_is_one_b_less(a, b):
    with pytest.raises(
        ValueError, match=f"b must have one number less than a, got {len(b)} and {len(a)}"
    ):
        isotropic_weights(a, b, torch.eye(2))


def test_gradient_descent_is_the_case_without_b():
    Pi = matrix(3, 2)
    ours, theirs = (
        gradient_descent_weights(2, 0.03, 7, 3, Pi, F64),
        isotropic_weights([0.21, 0.21], [0.0], Pi),
    )
    for n in ("P", "Q"):
        torch.testing.assert_close(ours[n], theirs[n], rtol=1e-15, atol=0)


# ---- the same prompts in other coordinates


def tokens(N, d, B, seed=0):
    return LinearRegression(N, d, noise_std=0.3).sample(B, generator(seed), "tokens", F64)


def assert_same(ours: Gram, theirs: Gram):
    assert ours.N == theirs.N
    for k in ("S", "s", "x", "y"):
        torch.testing.assert_close(getattr(ours, k), getattr(theirs, k), rtol=1e-11, atol=1e-11)


def test_mapped_is_a_map_of_every_covariate():
    prompts, A = tokens(6, 4, 9), matrix(4, 3)
    Z = torch.cat((prompts.Z[..., :4] @ A.mT, prompts.Z[..., 4:]), -1)
    assert_same(mapped(prompts.gram(), A), Prompts(Z, prompts.y).gram())


def test_mapped_twice_is_the_product():
    gram, A, B = tokens(6, 4, 9).gram(), matrix(4, 3), matrix(4, 4)
    assert_same(mapped(mapped(gram, A), B), mapped(gram, B @ A))


def test_mapped_keeps_members_apart():
    members = [tokens(6, 4, 9, seed).gram() for seed in (0, 1)]
    stacked = Gram(
        *(torch.stack([getattr(m, k) for m in members]) for k in ("S", "s", "x", "y")), 6
    )
    own = torch.stack([matrix(4, 3), matrix(4, 4)])
    for A in (own, own[:1].expand(2, 4, 4), own[0]):
        together = mapped(stacked, A)
        for e, alone in enumerate(members):
            alone = mapped(alone, A if A.dim() == 2 else A[e])
            assert_same(Gram(*(getattr(together, k)[e] for k in ("S", "s", "x", "y")), 6), alone)


@pytest.mark.parametrize(("d", "images"), [(1, 2), (2, 8), (3, 48)])
def test_symmetrised_has_every_image_once(d, images):
    gram = tokens(5, d, 7).gram()
    ours = symmetrised(gram)
    assert ours.S.shape == (d, d, 7 * images)
    assert ours.x.shape == ours.s.shape == (d, 7 * images)
    assert ours.y.shape == (7 * images,)
    assert ours.N == 5
    assert torch.equal(ours.y.view(images, 7), gram.y.expand(images, 7))  # blocks of whole batches
    vectors = ours.x.view(d, images, 7)
    assert len({tuple(v) for v in vectors[..., 0].mT.tolist()}) == images
    size = vectors.abs().sort(0).values
    assert torch.equal(size, gram.x.abs().sort(0).values[:, None].expand_as(size))
    for i in range(images):
        # The map, from seven queries.
        A = torch.linalg.lstsq(gram.x.mT, vectors[:, i].mT).solution.mT
        torch.testing.assert_close(A.abs().sum(0), torch.ones(d, dtype=F64), rtol=1e-10, atol=0)
        assert torch.equal(A.round().abs().sum(1), torch.ones(d, dtype=F64))
        image = Gram(
            *(getattr(ours, k).unflatten(-1, (images, 7))[..., i, :] for k in ("S", "s", "x", "y")),
            5,
        )
        assert_same(image, mapped(gram, A.round()))


def test_symmetrised_prompts_are_their_own_images():
    """As a set: any signed permutation of the axes only reorders them, so that averages stay as
    they are."""
    gram = symmetrised(tokens(5, 3, 2).gram())
    turn = torch.tensor([[0.0, -1, 0], [0, 0, 1], [1, 0, 0]], dtype=F64)

    def rows(g):
        return sorted(torch.cat((g.S.flatten(0, 1), g.s, g.x, g.y[None])).mT.tolist())

    assert rows(mapped(gram, turn)) == rows(gram)


def whitened_gradients(gram, A, L=3, seed=0):
    """Of the loss at isotropic weights for covariates A g, with respect to the parameters that act
    on g: P = A P' A^-1 and Q = A^-T Q' A^-1. Each (L, d, d)."""
    d, inverse = gram.d, torch.linalg.inv(A)
    a, b = (0.2 + torch.rand(size, generator=generator(seed), dtype=F64) for size in (L, L - 1))
    params = isotropic_weights(a.tolist(), b.tolist(), inverse.mT @ inverse)
    params["P"][-1] = 0.3 * torch.eye(d)
    params = {n: p.clone().requires_grad_() for n, p in params.items()}
    loss = LinearTransformer(d, L).loss(params, gram)
    gP, gQ = torch.autograd.grad(loss, (params["P"], params["Q"]))
    return A.mT @ gP[:, 0] @ inverse.mT, inverse @ gQ[:, 0] @ inverse.mT


@pytest.mark.parametrize("whitened", [True, False])
@pytest.mark.parametrize("d", [2, 3])
def test_gradients_on_symmetrised_prompts_are_multiples_of_the_identity(d, whitened):
    """Of every P and Q to rounding, in whitened coordinates; on the plain prompts they are not."""
    gram = LinearRegression(6, d).sample(4, generator(1), dtype=F64)
    A = torch.eye(d, dtype=F64) if whitened else matrix(d, 5)
    for M, zero in zip(whitened_gradients(mapped(symmetrised(gram), A), A), (2, None), strict=True):
        distance = distance_to_identity(M)
        assert (distance < 1e-12).all()
        assert (M[:zero].diagonal(dim1=-2, dim2=-1).abs() > 1e-6).all()
    gP, gQ = whitened_gradients(mapped(gram, A), A)
    assert (distance_to_identity(gP[:2]) > 0.05).all()
    assert (distance_to_identity(gQ) > 0.05).all()


def test_the_loss_on_images_is_that_of_the_images_of_the_parameters():
    """mapped prompts with (A P A^-1, A^-T Q A^-1) have the loss of the prompts with (P, Q), to all
    orders."""
    gram, A = tokens(6, 4, 9).gram(), matrix(4, 3)
    inverse = torch.linalg.inv(A)
    P, Q = 0.3 * torch.randn(2, 3, 2, 4, 4, generator=generator(2), dtype=F64)
    model = LinearTransformer(4, 3, 2)
    ours = model.predict({"P": A @ P @ inverse, "Q": inverse.mT @ Q @ inverse}, mapped(gram, A))
    torch.testing.assert_close(ours, model.predict({"P": P, "Q": Q}, gram), rtol=1e-9, atol=1e-10)
