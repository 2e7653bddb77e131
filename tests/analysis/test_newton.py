"""Newton's iteration, steepest descent and logistic regression against numpy, scipy and autograd;
the layers that do Newton's iteration against their definition, token by token, and against the
iteration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from lintf.analysis.newton import NewtonIteration, SteepestDescent
from lintf.analysis.solvers import GradientDescent, LeastSquares
from lintf.analysis.theory import NewtonTransformer, linear_attention
from lintf.tasks import logistic
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Prompts
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import logistic_derivatives, logistic_loss, logistic_newton

F64 = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def prompts(N=7, d=3, B=11, seed=0, dtype=F64, **kwargs):
    return LinearRegression(N, d, **kwargs).sample(B, generator(seed), "tokens", dtype)


def each(tokens):
    """X, Y and the query of every prompt, as arrays."""
    for Z in tokens.Z.numpy():
        yield Z[:-1, :-1], Z[:-1, -1], Z[-1, :-1]


def close(ours, expected, tolerance):
    expected = expected if torch.is_tensor(expected) else torch.from_numpy(np.array(expected))
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


def matrices(B=4, d=3, seed=0):
    """Any square matrices, of condition numbers below some tens."""
    return torch.eye(d, dtype=F64) + 0.4 * torch.randn(
        B, d, d, generator=generator(seed), dtype=F64
    )


# ---- the inverse


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("alpha", [None, 0.05])
def test_the_residual_is_a_power(order, alpha):
    A = matrices()
    J = NewtonIteration(3, order, alpha).inverses(A)
    assert J.shape == (4, 4, 3, 3)
    eye = torch.eye(3, dtype=F64)
    for k in range(4):
        power = torch.linalg.matrix_power(eye - A @ J[0], order**k)
        torch.testing.assert_close(eye - A @ J[k], power, rtol=0, atol=1e-12)


def test_the_start_is_the_papers():
    A = matrices()
    J = NewtonIteration(0).inverses(A)[0]
    for ours, M in zip(J.numpy(), A.numpy(), strict=True):
        eigenvalues = np.linalg.eigvalsh(M @ M.T)
        np.testing.assert_allclose(
            ours, M.T / (eigenvalues[0] + eigenvalues[-1]), rtol=1e-12, atol=1e-15
        )


@pytest.mark.parametrize(("steps", "order"), [(20, 2), (14, 3), (9, 6)])
def test_the_limit_is_the_inverse(steps, order):
    A = matrices()
    np.testing.assert_allclose(
        NewtonIteration(steps, order).inverses(A)[-1], np.linalg.inv(A.numpy()), atol=1e-12
    )


def test_order_two_is_the_textbook_step():
    A = matrices()
    J = NewtonIteration(2).inverses(A)
    torch.testing.assert_close(
        J[2], J[1] @ (2 * torch.eye(3, dtype=F64) - A @ J[1]), rtol=1e-13, atol=1e-14
    )


def test_a_zero_matrix_stays_zero():
    assert (NewtonIteration(3).inverses(torch.zeros(2, 3, 3)) == 0).all()


@pytest.mark.parametrize(("order", "alpha"), [(2, None), (3, None), (2, 2e-3), (4, 1e-3)])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_predictions_against_a_loop(order, alpha, steps):
    tokens = prompts(noise_std=0.3)
    expected = []
    for X, Y, x in each(tokens):
        S = sum(np.outer(row, row) for row in X)
        eigenvalues = np.linalg.eigvalsh(S @ S.T)
        J = S.T * (alpha or 1 / (eigenvalues[0] + eigenvalues[-1]))
        row = [x @ J @ X.T @ Y]
        for _ in range(steps):
            powers = [np.linalg.matrix_power(S @ J, j) for j in range(order)]
            J = J @ sum((-1) ** j * math.comb(order, j + 1) * powers[j] for j in range(order))
            row.append(x @ J @ X.T @ Y)
        expected.append(row)
    method = NewtonIteration(steps, order, alpha)
    for given in (tokens, tokens.gram()):
        close(method.iterates(given).mT, expected, 1e-12)
        assert torch.equal(method.predict(given), method.iterates(given)[-1])


@pytest.mark.parametrize("method", [NewtonIteration(2), SteepestDescent(2)])
def test_ensembles_and_the_prompts_dtype(method):
    tasks = [LinearRegression(7, 3)] * 2
    both = sample_ensemble(tasks, 5, [generator(0), generator(1)], "tokens", torch.float32)
    found = method.iterates(both)
    assert found.shape == (3, 2, 5)
    assert found.dtype == torch.float32
    for e in range(2):
        assert torch.equal(found[:, e], method.iterates(Prompts(both.Z[e], both.y[e])))
        assert torch.equal(found[:, e], method.iterates(both.gram())[:, e])


@pytest.mark.parametrize("order", [2, 3])
def test_with_too_few_examples_the_limit_is_the_pseudo_inverse(order):
    tokens = prompts(N=2, d=4)
    S = tokens.gram().S.movedim(-1, 0)
    exact = torch.linalg.pinv(S, rtol=1e-10, hermitian=True)
    J = NewtonIteration(25, order).inverses(S)
    onto = S @ exact  # the projection that S has no part outside of
    for k in (25, 24):
        close(onto @ J[k] @ onto, exact, 1e-7)
    tolerance = 1e-10 * float(tokens.y.abs().max())
    torch.testing.assert_close(
        NewtonIteration(60).predict(tokens), LeastSquares().predict(tokens), rtol=0, atol=tolerance
    )


def test_rounding_grows_in_the_null_space_only():
    S = prompts(N=2, d=4).gram().S.movedim(-1, 0)
    exact = torch.linalg.pinv(S, rtol=1e-10, hermitian=True)
    outside = torch.eye(4, dtype=F64) - S @ exact
    J = NewtonIteration(50).inverses(S)
    part = torch.linalg.matrix_norm(outside @ J @ outside).amax(1)
    assert part[20] < 1e-9
    assert part[50] > 1e6 * part[20]  # 2^30 is 1e9


# ---- steepest descent


@pytest.mark.parametrize("N", [1, 2, 7])
@pytest.mark.parametrize("steps", [0, 1, 6])
def test_steepest_descent_against_a_loop(N, steps):
    tokens = prompts(N, noise_std=0.3)
    expected = []
    for X, Y, x in each(tokens):
        w, row = np.zeros(3), [0.0]
        for _ in range(steps):
            g = sum((X[i] @ w - Y[i]) * X[i] for i in range(N))
            w = (
                w - (g @ g) / sum((X[i] @ g) ** 2 for i in range(N)) * g
                if (g**2).sum() > 1e-25
                else w
            )
            row.append(w @ x)
        expected.append(row)
    method = SteepestDescent(steps)
    for given in (tokens, tokens.gram()):
        close(method.iterates(given).mT, expected, 1e-11)
        assert torch.equal(method.predict(given), method.iterates(given)[-1])


def test_the_line_search_is_exact():
    tokens = prompts(noise_std=0.3)
    expected = []
    for X, Y, x in each(tokens):
        w = np.zeros(3)
        for _ in range(3):
            g = X.T @ (X @ w - Y)

            def error(eta: float, X=X, Y=Y, w=w, g=g) -> float:
                return ((X @ (w - eta * g) - Y) ** 2).sum()

            w = w - minimize_scalar(error, method="brent", tol=1e-12).x * g
        expected.append(w @ x)
    close(SteepestDescent(3).predict(tokens), expected, 1e-6)


def test_the_loss_falls_at_kantorovichs_rate():
    """(w - w*) S (w - w*) through d queries e_j of the same prompts."""
    tokens, d = prompts(N=9, B=40), 3
    gram = tokens.gram()
    S = gram.S.movedim(-1, 0)
    W = torch.stack([_asked(tokens, j) for j in range(d)], -1)  # (steps + 1, B, d)
    error = W - torch.linalg.solve(S, gram.s.mT)
    loss = (error * (S @ error.unsqueeze(-1))[..., 0]).sum(-1)
    eigenvalues = torch.linalg.eigvalsh(S)
    kappa = eigenvalues[:, -1] / eigenvalues[:, 0]
    ratio = loss[1:] / loss[:-1]
    assert (ratio <= ((kappa - 1) / (kappa + 1)).square() + 1e-9).all()


def _asked(tokens, j):
    Z = tokens.Z.clone()
    Z[:, -1, :-1] = torch.eye(Z.shape[-1] - 1, dtype=Z.dtype)[j]
    return SteepestDescent(8).iterates(Prompts(Z, tokens.y))


def test_steepest_descent_stays_at_the_solution():
    tokens = prompts()
    nothing = Prompts(torch.zeros_like(tokens.Z), tokens.y)
    assert (SteepestDescent(3).iterates(nothing) == 0).all()
    close(SteepestDescent(2000).predict(tokens), LeastSquares().predict(tokens), 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("N", [1, 2, 3])
def test_steepest_descent_stays_at_the_minimum_where_S_has_no_inverse(N, dtype):
    """With fewer examples than dimensions it ends at the solution of least norm, and rounding does
    not drive it off."""
    prompts = LinearRegression(N, 5).sample(300, torch.Generator().manual_seed(2), "tokens", dtype)
    path = SteepestDescent(3000).iterates(prompts)
    X, y = prompts.Z[:, :-1, :-1].double(), prompts.Z[:, :-1, -1].double()
    least = ((torch.linalg.pinv(X) @ y.unsqueeze(2))[..., 0] * prompts.Z[:, -1, :-1].double()).sum(
        1
    )
    gaps = (path.double() - least).abs()
    # Rounding, times the condition number of X X^T, which has a heavy tail
    tolerance = {torch.float32: 2e-3, torch.float64: 1e-6}[dtype]
    assert gaps[-1].quantile(0.95) < tolerance
    assert path.abs().max() < 100  # labels are below 20
    if N == 1:
        assert gaps[1:].max() < tolerance  # after one step


# ---- logistic regression


def problems(B=4, n=11, d=3, scale=1.0, seed=0):
    g = generator(seed)
    X = scale * torch.randn(B, n, d, generator=g, dtype=F64)
    w = torch.randn(B, d, 1, generator=g, dtype=F64)
    return X, torch.where((X @ w)[..., 0] + torch.randn(B, n, generator=g, dtype=F64) > 0, 1, -1)


@pytest.mark.parametrize("mu", [1.0, 0.01, 1e-3])
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_logistic_against_scipy(mu, scale):
    X, y = problems(scale=scale)
    found = logistic_newton(X, y, mu)
    assert found.shape == (4, 3)
    for w, A, b in zip(found.numpy(), X.numpy(), y.numpy(), strict=True):

        def loss(v, A=A, b=b):
            return np.logaddexp(0, -b * (A @ v)).mean() + mu / 2 * v @ v

        best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9, "maxiter": 500}).x
        np.testing.assert_allclose(w, best, rtol=1e-4, atol=1e-5)
        assert loss(w) <= loss(best) + 1e-14


def test_the_gradient_at_the_solution_is_zero():
    X, y = problems()
    g, _ = logistic_derivatives(logistic_newton(X, y, 0.01), X, y, 0.01)
    # |g|^2 <= lambda^2 times the largest eigenvalue of H, here below 1.
    assert float(g.abs().max()) < 1e-10


def test_logistic_derivatives_against_autograd():
    X, y = problems(B=1)
    w = torch.randn(1, 3, generator=generator(5), dtype=F64)
    g, H = logistic_derivatives(w, X, y, 0.3)

    def loss(v):
        return logistic_loss(v, X[0], y[0], 0.3)

    torch.testing.assert_close(
        g[0], torch.autograd.functional.jacobian(loss, w[0]), rtol=1e-13, atol=1e-15
    )
    torch.testing.assert_close(
        H[0], torch.autograd.functional.hessian(loss, w[0]), rtol=1e-13, atol=1e-15
    )


def test_every_damped_step_descends():
    X, y = problems(n=26, d=5)
    X = X / X.norm(dim=-1, keepdim=True)  # |x| <= 1, where it is guaranteed
    path = logistic_newton(X, y, 1e-3, steps=60)
    assert path.shape == (61, 4, 5)
    loss = logistic_loss(path, X, y, 1e-3)
    assert (loss.diff(dim=0) <= 1e-15).all()
    assert (loss[:10].diff(dim=0) < -1e-6).all()
    torch.testing.assert_close(path[-1], logistic_newton(X, y, 1e-3), rtol=0, atol=1e-8)


def test_one_damped_step_by_hand():
    """One example x = 1 with label 1: g = -1/2, H = 1/4 + mu."""
    mu, H = 0.25, 0.5
    decrement = 0.5 / H**0.5
    step = 2 * mu**0.5 / (2 * mu**0.5 + decrement)
    w = logistic_newton(torch.ones(1, 1), torch.ones(1), mu, steps=1)
    assert w[0, 0] == 0
    assert float(w[1, 0]) == pytest.approx(step * 0.5 / H, rel=1e-14)


def test_problems_do_not_see_each_other():
    X, y = problems(B=6)
    X[3] *= 20  # takes longer
    together = logistic_newton(X, y, 0.01)
    for i in range(6):
        torch.testing.assert_close(
            logistic_newton(X[i], y[i], 0.01), together[i], rtol=1e-12, atol=1e-14
        )


def test_large_margins_do_not_overflow():
    X, y = problems(scale=1e4)
    g, H = logistic_derivatives(torch.ones(4, 3, dtype=F64), X, y, 0.01)
    assert torch.isfinite(logistic_loss(torch.ones(4, 3, dtype=F64), X, y, 0.01)).all()
    assert torch.isfinite(g).all()
    assert torch.isfinite(H).all()
    assert torch.isfinite(logistic_newton(X, y, 0.01, steps=5)).all()


def test_a_problem_that_takes_too_long_is_an_error(monkeypatch):
    monkeypatch.setattr(logistic, "LONGEST", 3)
    with pytest.raises(
        RuntimeError, match="after 3 steps in 4 of 4 logistic problems, the largest"
    ):
        logistic_newton(*problems(), 1e-3)


def test_the_last_allowed_step_counts(monkeypatch):
    X, y = problems()
    path = logistic_newton(X, y, 0.01, steps=40)
    g, H = logistic_derivatives(path, X, y, 0.01)
    decrement = (g * torch.linalg.solve(H, g)).sum(-1).sqrt().amax(1)
    needed = int((decrement <= 1e-10).nonzero()[0, 0])
    monkeypatch.setattr(logistic, "LONGEST", needed)
    logistic_newton(X, y, 0.01)
    monkeypatch.setattr(logistic, "LONGEST", needed - 1)
    with pytest.raises(RuntimeError, match="mu is too small"):
        logistic_newton(X, y, 0.01)


# ---- the layers


def test_linear_attention_token_by_token():
    T, D = 4, 5
    Z, W, V = (
        torch.randn(*shape, generator=generator(1), dtype=F64)
        for shape in ((2, T, D), (D, D), (D, D))
    )
    ours = linear_attention(Z, W, V)
    for z, found in zip(Z, ours, strict=True):
        for n in range(T):
            new = z[n].clone()
            for m in range(T - 1):  # no token reads the last one
                new += (z[n] @ W @ z[m]) * (z[m] @ V)
            torch.testing.assert_close(found[n], new, rtol=1e-12, atol=1e-12)


SHAPES = [(7, 3, 5), (2, 4, 3), (1, 1, 2), (26, 5, 4)]  # N, d, B


def fixed(tokens):
    """An alpha that suits every prompt."""
    return 1 / float(torch.linalg.eigvalsh(tokens.gram().S.movedim(-1, -3)).max()) ** 2


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize(("N", "d", "B"), SHAPES)
def test_layers_are_newton_steps(N, d, B, copy):
    tokens = prompts(N, d, B, noise_std=0.3)
    alpha = fixed(tokens)
    steps = NewtonIteration(8, alpha=alpha).iterates(tokens)
    layers = NewtonTransformer(d, 8, alpha, copy).iterates(tokens)
    assert layers.shape == (9, B)
    close(layers, steps, 1e-12)
    for k in (0, 1, 8):
        close(NewtonTransformer(d, k, alpha, copy).predict(tokens), steps[k], 1e-12)


@pytest.mark.parametrize("copy", [False, True])
def test_the_number_of_layers(copy):
    for k in (0, 1, 6):
        model = NewtonTransformer(3, k, 0.1, copy)
        assert model.n_layer == len(model.layers()) == (k + 2 if copy else 2 * k + 2)
        assert len(list(model.states(prompts()))) == model.n_layer + 1
        assert all(M.shape == (13, 13) for layer in model.layers() for M in layer)


def test_the_tokens():
    tokens = prompts(N=2, d=3, B=5)
    model = NewtonTransformer(3, 1, 0.1)
    Z = model.tokens(tokens)
    assert Z.shape == (5, 6, 13)
    assert torch.equal(Z[:, :2, :4], tokens.Z[:, :2])
    assert torch.equal(model.blocks(Z)["e"][:, 2:5], torch.eye(3, dtype=F64).expand(5, 3, 3))
    assert torch.equal(model.blocks(Z)["e"][:, 5], tokens.Z[:, 2, :3])
    assert int((Z != 0).sum()) == 5 * (2 * 4 + 3 + 3)


def test_every_layer_is_its_formula():
    tokens, d, N = prompts(N=7, d=3), 3, 7
    alpha = fixed(tokens)
    gram = tokens.gram()
    S, s = gram.S.movedim(-1, 0), gram.s.mT
    model = NewtonTransformer(d, 2, alpha)
    states = [model.blocks(Z[:, N:]) for Z in model.states(tokens)]
    e = states[0]["e"]  # the unit vectors, and the query
    J, rows = NewtonIteration(2, alpha=alpha).inverses(S), slice(0, d)
    for k in range(3):
        close(states[1 + 2 * k]["J"], e @ J[k], 1e-13)
    for k in range(2):
        close(states[2 + 2 * k]["t"], e @ J[k] @ S, 1e-13)
    w = (J[2] @ s.unsqueeze(-1))[..., 0]
    close(states[-1]["y"][:, rows, 0], w, 1e-12)
    close(states[-1]["y"][:, -1, 0], (w * gram.x.mT).sum(-1), 1e-12)
    for Z in model.states(tokens):  # the examples never change
        assert torch.equal(Z[:, :N, : d + 1], tokens.Z[:, :N])
        assert (Z[:, :N, d + 1 :] == 0).all()


def test_from_a_multiple_of_the_identity_steps_of_newton_are_powers_of_gradient_descent():
    tokens, d, k = prompts(noise_std=0.3), 3, 4
    beta = fixed(tokens) ** 0.5
    model = NewtonTransformer(d, k, 1.0)
    Z = model.tokens(tokens)
    model.blocks(Z)["J"][:] = beta * model.blocks(Z)["e"]
    for W, V in model.layers()[1:]:
        Z = linear_attention(Z, W, V)
    close(model.blocks(Z)["y"][:, -1, 0], GradientDescent(2**k, beta).predict(tokens), 1e-12)


@pytest.mark.parametrize("copy", [False, True])
def test_layers_in_an_ensemble_and_in_float32(copy):
    tasks = [LinearRegression(7, 3)] * 2
    both = sample_ensemble(tasks, 5, [generator(0), generator(1)], "tokens", torch.float32)
    model = NewtonTransformer(3, 12, fixed(both), copy)
    found = model.predict(both)
    assert found.shape == (2, 5)
    assert found.dtype == torch.float32
    for e in range(2):
        alone = model.predict(Prompts(both.Z[e], both.y[e]))
        torch.testing.assert_close(found[e], alone, rtol=1e-4, atol=1e-4)
    double = Prompts(both.Z.double(), both.y.double())
    torch.testing.assert_close(found.double(), model.predict(double), rtol=1e-3, atol=1e-3)


# ---- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NewtonIteration(-1), "steps must be an integer >= 0, got -1"),
        (lambda: NewtonIteration(3, 1), "order must be an integer >= 2, got 1"),
        (lambda: NewtonIteration(3, alpha=0.0), "alpha must be a finite number > 0, got 0.0"),
        (
            lambda: NewtonIteration(1).inverses(torch.ones(3, 4)),
            r"S must be \(..., d, d\), got shape \(3, 4\)",
        ),
        (lambda: SteepestDescent(1.5), "steps must be an integer >= 0, got 1.5"),
        (lambda: NewtonTransformer(0, 3, 0.1), "d must be an integer >= 1, got 0"),
        (lambda: NewtonTransformer(3, -2, 0.1), "steps must be an integer >= 0, got -2"),
        (lambda: NewtonTransformer(3, 2, -0.1), "alpha must be a finite number > 0, got -0.1"),
        (
            lambda: NewtonTransformer(3, 2, 0.1).predict(prompts().gram()),
            "prompts must be tokens with d = 3, got Gram",
        ),
        (lambda: NewtonTransformer(2, 2, 0.1).predict(prompts()), "with d = 2, got Prompts, d = 3"),
        (
            lambda: logistic_newton(torch.ones(5, 2), torch.zeros(5), 0.1),
            "y must be labels -1 or 1, got 0.0",
        ),
        (
            lambda: logistic_newton(torch.ones(5, 2), torch.ones(5), 0.0),
            "mu must be a finite number > 0, got 0.0",
        ),
        (
            lambda: logistic_newton(torch.ones(5, 2), torch.ones(5), 1.0, -1),
            "steps must be an integer >= 0, got -1",
        ),
        (
            lambda: logistic_newton(torch.ones(5, 2), torch.ones(4), 1.0),
            r"got shapes \(5, 2\) and \(4,\)",
        ),
        (
            lambda: logistic_newton(torch.ones(0, 2), torch.ones(0), 1.0),
            r"got shapes \(0, 2\) and \(0,\)",
        ),
        (
            lambda: logistic_newton(torch.full((5, 2), math.nan), torch.ones(5), 1.0),
            "X must be finite numbers",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
