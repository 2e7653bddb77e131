"""Derivatives, curvature and gradient noise against explicit Hessians, finite differences and loops
in token space."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch.autograd.functional import hessian, jacobian
from torch.nn.attention import SDPBackend, sdpa_kernel

from lintf import kernel
from lintf.analysis import landscape, linear_series
from lintf.analysis.landscape import (
    condition_number,
    directional_derivatives,
    directional_smoothness,
    gradient,
    gradient_noise,
    hessian_diagonal,
)
from lintf.models.encoder import Encoder
from lintf.models.linear import LinearTransformer
from lintf.models.looped import Looped
from lintf.models.mlp import MLPTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.base import fixed_prompts, sample_ensemble
from lintf.tasks.batches import Gram, Prompts
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.tasks.mlp import NonlinearRegression
from lintf.tasks.recall import Recall

# PyTorch's own forward mode says this when it is first used.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)
BACKENDS = ("kernel", "plain")
EPS = torch.finfo(torch.float64).eps
ROUNDING = 1000 * EPS  # relative to the largest entry


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moderate(model, N, lead=(), seed=0):
    """Parameters (*lead, shape) with which a layer changes its input by a factor of about 1.5."""
    scale, g = (
        math.sqrt(0.5 / (model.n_head * model.d * math.sqrt(1 + model.d / N))),
        generator(seed),
    )
    return {
        n: scale * torch.randn(*lead, *s, generator=g, dtype=torch.float64)
        for n, s in model.shapes.items()
    }


def setting(L=4, H=2, N=7, d=3, B=23, lead=(), free_P=True, noise_std=0.3):
    """Model, parameters (*lead, shape), directions alike, prompts that all members share."""
    model = LinearTransformer(d, L, H, free_P=free_P)
    tokens = LinearRegression(N, d, noise_std=noise_std).sample(
        B, generator(1), "tokens", torch.float64
    )
    return model, moderate(model, N, lead), moderate(model, N, lead, seed=2), tokens


def softmax():
    model, *rest = setting(L=2)
    return replace(model, attention="softmax"), *rest


def nonlinear():
    model = MLPTransformer(d=3, n_layer=2, hidden=4, init_std=0.4)
    tokens = NonlinearRegression(N=7, d=3, hidden=5).sample(11, generator(1), dtype=torch.float64)
    return model, *(model.init(generator(seed), torch.float64) for seed in (0, 2)), tokens


def own_prompts(lead, N=7, d=3, B=23):
    """Tokens (*lead, B, ...)."""
    generators = [generator(seed) for seed in range(math.prod(lead))]
    tokens = sample_ensemble(
        [LinearRegression(N, d)] * len(generators), B, generators, "tokens", torch.float64
    )
    return Prompts(tokens.Z.reshape(*lead, B, N + 1, d + 1), tokens.y.reshape(*lead, B))


def members(params, lead):
    """The parameters of each member, by its place in the leading axes."""
    return {e: {n: p[e] for n, p in params.items()} for e in product(*map(range, lead))}


def flat(params):
    return torch.cat([p.reshape(-1) for p in params.values()])


def loss_of(model, params, prompts):
    """One member's loss as a function of one vector."""

    def loss(vector):
        parts = vector.split([p.numel() for p in params.values()])
        given = {
            name: part.view(params[name].shape) for name, part in zip(params, parts, strict=True)
        }
        return (model.predict(given, prompts) - prompts.y).square().mean()

    return loss


def explicit(model, params, prompts):
    """Loss, gradient (n,) and Hessian (n, n) of one member."""
    loss, at = loss_of(model, params, prompts), flat(params)
    return loss(at), jacobian(loss, at), hessian(loss, at, vectorize=True)


def measures(model, params, directions, prompts, backend="auto"):
    return hessian_diagonal(model, params, prompts, backend), *directional_derivatives(
        model, params, directions, prompts, backend
    )


def assert_near(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= ROUNDING * theirs.abs().max()


def bits(*results):
    """All of them are the same."""
    assert all(
        torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True)
    )


# ---- the Hessian's diagonal


SIZES = [
    {"L": L, "H": H, "free_P": free_P}
    for L in (1, 2, 3, 4)
    for H in (1, 2)
    for free_P in (True, False)
]
# Beyond d = 6 the compiled loops are other ones.
DIMENSIONS = [{"L": 3, "H": 1 if d > 5 else 2, "d": d, "noise_std": 0.0} for d in range(1, 8)]


@pytest.mark.parametrize("size", SIZES + DIMENSIONS, ids=str)
def test_the_diagonal_is_the_explicit_hessians(size):
    model, params, _, tokens = setting(**size)
    expected = explicit(model, params, tokens)[2].diagonal()
    assert_near(hessian_diagonal(model, params, tokens), expected)
    for backend in BACKENDS:
        ours = hessian_diagonal(model, params, tokens.gram(), backend)
        assert_near(ours, expected)
        L, kinds = model.n_layer, len(params)  # entries of the last P, and no others, are exactly 0
        assert (ours.view(kinds, L, -1) == 0).all(-1).nonzero().tolist() == [
            [0, L - 1]
        ] * model.free_P


@pytest.mark.parametrize("free_P", [True, False])
def test_the_diagonal_of_tied_layers(free_P):
    """A parameter moves all layers at once."""
    model, _, _, tokens = setting(L=3, free_P=free_P)
    model = replace(model, tied=True)
    params = moderate(model, 7)
    expected = explicit(model, params, tokens)[2].diagonal()
    for backend in BACKENDS:
        assert_near(hessian_diagonal(model, params, tokens.gram(), backend), expected)


@pytest.mark.parametrize("lead", [(), (3,), (2, 5)])
def test_the_diagonal_of_every_member(lead):
    model, params, _, tokens = setting(L=3, H=1, lead=lead)
    for backend in BACKENDS:
        together = hessian_diagonal(model, params, tokens.gram(), backend)
        assert together.shape == (*lead, 2 * 3 * 3 * 3)
        for e, its in members(params, lead).items():
            assert_near(together[e], explicit(model, its, tokens)[2].diagonal())
            assert torch.equal(together[e], hessian_diagonal(model, its, tokens.gram(), backend))


# 8 or 16 fill a register, 1024 a chunk.
@pytest.mark.parametrize("B", [1, 8, 15, 17, 1023, 1024, 1025, 2500])
def test_any_batch_in_both_precisions(B, monkeypatch):
    monkeypatch.setattr(linear_series, "TOGETHER", 2**12)  # 256 prompts
    model, params, directions, tokens = setting(L=3, H=1, d=2, B=B)
    (loss, g, H), gram, v = explicit(model, params, tokens), tokens.gram(), flat(directions)
    low = [{n: p.float() for n, p in t.items()} for t in (params, directions)]
    low.append(Gram(*(t.float() for t in (gram.S, gram.s, gram.x, gram.y)), gram.N))
    for backend in BACKENDS:
        ours, lower = (
            measures(model, params, directions, gram, backend),
            measures(model, *low, backend),
        )
        assert {part.dtype for part in lower} == {torch.float32}
        # Of what is summed up.
        sizes = (H.diagonal().abs().max(), loss, v.abs() @ g.abs(), v.abs() @ H.abs() @ v.abs())
        for high, less, theirs, size in zip(
            ours, lower, (H.diagonal(), loss, v @ g, v @ H @ v), sizes, strict=True
        ):
            assert_near(high, theirs)
            assert ((less - theirs).abs() <= 100 * torch.finfo(torch.float32).eps * size).all()


@pytest.mark.parametrize("order", ["PQ", "QP"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_entries_are_the_parameters_in_their_order(backend, order):
    """Entry by entry against second differences, whose error with 2h is four times that with h, up
    to rounding."""
    model, params, _, tokens = setting(L=3, H=2, d=2)
    params, h = {name: params[name] for name in order}, 1e-3
    ours = hessian_diagonal(model, params, tokens.gram(), backend)
    halves = torch.eye(48, dtype=torch.float64).view(48, 2, 3, 2, 2, 2).unbind(1)
    units = dict(zip(order, halves, strict=True))

    def differences(h):
        low, mid, high = (
            model.loss({n: p + t * units[n] for n, p in params.items()}, tokens) for t in (-h, 0, h)
        )
        return (high - 2 * mid + low) / h**2, 100 * EPS * mid / h**2

    (near, rounding), (far, _) = differences(h), differences(2 * h)
    assert ((ours - near).abs() <= (far - near).abs() + rounding).all()


# ---- condition number


def test_condition_numbers():
    """The lower one of the two in the middle; for 1, 2, 3, 8 it is 2."""
    diagonal = torch.randn(2, 5, 8, generator=generator(), dtype=torch.float64)
    diagonal[0, 0] = torch.tensor([8, -2, 1, 3] * 2)
    ours = condition_number(diagonal)
    assert ours.shape == (2, 5)
    assert ours[0, 0] == 4
    for e in product(range(2), range(5)):
        entries = sorted(abs(v) for v in diagonal[e].tolist())
        assert ours[e].item() == entries[7] / entries[3]
    for entries, expected in (
        ([-8, 3, -1], 8 / 3),
        ([-5], 1),
        ([0, -6], math.inf),
        ([1, math.nan, 2], math.nan),
    ):
        ours = condition_number(torch.tensor(entries, dtype=torch.float64)).item()
        assert ours == pytest.approx(expected, rel=EPS, nan_ok=True)


# ---- along lines


@pytest.mark.parametrize("L", [1, 2, 3, 4])
@pytest.mark.parametrize("free_P", [True, False])
def test_lines_that_move_one_matrix(free_P, L):
    """Members with points of their own, whose lines move each layer's P, each layer's Q, all of
    them, nothing."""
    lead = (2, L + 1) if free_P else (1, L + 2)
    model, params, directions, tokens = setting(L, lead=lead, free_P=free_P)
    moved = torch.eye(math.prod(lead), (1 + free_P) * L, dtype=torch.float64)
    moved[-2] = 1
    for n, part in zip(params, moved.split(L, 1), strict=True):
        directions[n] *= part.view(*lead, L, 1, 1, 1)
    ways = (tokens.gram(), "kernel"), (tokens.gram(), "plain"), (tokens, "auto")
    found = [directional_derivatives(model, params, directions, *way) for way in ways]
    lines = members(directions, lead)
    expected = [explicit(model, point, tokens) for point in members(params, lead).values()]
    expected = [
        (loss, v @ g, v @ H @ v)
        for (loss, g, H), v in zip(expected, map(flat, lines.values()), strict=True)
    ]
    for parts in found:
        for ours, theirs in zip(parts, zip(*expected, strict=True), strict=True):
            assert_near(ours, torch.stack(theirs).view(lead))
        for part in parts[1:]:  # exactly: the last P does not count
            assert (part == 0).flatten().nonzero().flatten().tolist() == [
                *[L - 1] * free_P,
                math.prod(lead) - 1,
            ]
    assert_near(found[0][0], model.loss(params, tokens.gram()))
    g = gradient(model, params, tokens.gram())
    assert_near(found[0][1], sum((g[n] * v).flatten(-4).sum(-1) for n, v in directions.items()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_four_times_the_direction(backend):
    """Slope times 4 and curvature times 16, without any rounding."""
    model, params, directions, tokens = setting()
    loss, slope, curvature = directional_derivatives(
        model, params, directions, tokens.gram(), backend
    )
    far = directional_derivatives(
        model, params, {n: -4 * v for n, v in directions.items()}, tokens.gram(), backend
    )
    bits((loss, -4 * slope, 16 * curvature), far)


def test_what_is_not_compiled_is_had_all_the_same():
    """d = 33."""
    model, params, directions, tokens = setting(L=2, H=1, N=5, d=33, B=4)
    with pytest.raises(RuntimeError, match="d = 33 > 32"):
        directional_derivatives(model, params, directions, tokens.gram(), "kernel")
    bits(
        *(
            directional_derivatives(model, params, directions, tokens.gram(), backend)
            for backend in ("auto", "plain")
        )
    )
    theirs = directional_derivatives(model, params, directions, tokens)
    assert_near(
        torch.stack(directional_derivatives(model, params, directions, tokens.gram())),
        torch.stack(theirs),
    )


@pytest.mark.parametrize("own", [True, False])
def test_compiled_lines_of_members_with_prompts_of_their_own(own):
    """(2, 5) members, 4 lines each, their own or the same for all."""
    model, params, _, tokens = setting(L=3, lead=(2, 5))
    tokens = own_prompts((2, 5)) if own else tokens
    gram, points = tokens.gram(), members(params, (2, 5))
    exact = {
        e: explicit(model, p, Prompts(tokens.Z[e], tokens.y[e]) if own else tokens)
        for e, p in points.items()
    }
    for lead in ((2, 5, 4), (4,)):
        lines = moderate(model, 7, lead, seed=3)
        found = kernel.lines(
            *params.values(), *lines.values(), gram.S, gram.s, gram.x, gram.y, gram.N
        )
        assert found.shape == (2, 5, 4, 3)
        for e, (loss, g, H) in exact.items():
            for k in range(4):
                v = flat({n: t[(*e, k)] if len(lead) == 3 else t[k] for n, t in lines.items()})
                assert_near(found[(*e, k)], torch.stack((loss, v @ g, v @ H @ v)))


@pytest.mark.parametrize("case", [nonlinear, softmax])
def test_other_models(case):
    """Two members, the parameters of each being the direction of the other."""
    model, *pair, tokens = case()
    params, lines = (
        {n: torch.stack([p[n] for p in order]) for n in pair[0]} for order in (pair, pair[::-1])
    )
    found = [
        hessian_diagonal(model, params, tokens),
        *directional_derivatives(model, params, lines, tokens),
    ]
    slopes = gradient(model, params, tokens)
    for e, v in enumerate(map(flat, pair[::-1])):
        loss, g, H = explicit(model, pair[e], tokens)
        for ours, theirs in zip(found, (H.diagonal(), loss, v @ g, v @ H @ v), strict=True):
            assert_near(ours[e], theirs)
        assert_near(flat({n: t[e] for n, t in slopes.items()}), g)
    still = directional_derivatives(
        model, params, {n: torch.zeros_like(v) for n, v in lines.items()}, tokens
    )
    assert torch.stack(still[1:]).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("case", [lambda: setting(L=3, lead=(6,)), nonlinear])
def test_smoothness_along_the_steps_of_a_training(case, monkeypatch):
    """Of six points, where the fourth step has length 0."""
    monkeypatch.setattr(landscape, "DIRECTIONS", 2)  # the last part has one
    model, params, directions, tokens = case()
    if case is nonlinear:
        params = {
            n: torch.stack([p + 0.1 * k * directions[n] for k in range(6)])
            for n, p in params.items()
        }
    for p in params.values():
        p[4] = p[3]
    points = [*members(params, (6,)).values()]
    ways = (
        [(tokens, "auto")]
        if case is nonlinear
        else [(tokens.gram(), "kernel"), (tokens.gram(), "plain")]
    )
    for way in ways:
        curvature, norm = directional_smoothness(model, params, *way)
        assert curvature.isnan().tolist() == [k == 3 for k in range(5)]
        for k in range(5):
            _, g, H = explicit(model, points[k], tokens)
            assert_near(norm[k], g.norm())
            v = flat(points[k + 1]) - flat(points[k])
            if k != 3:
                assert_near(curvature[k], v @ H @ v / (v @ v))


# ---- which code is taken


def assert_refused(model, params, directions, prompts, reason):
    for call in (
        hessian_diagonal,
        lambda *args: directional_derivatives(*args[:2], directions, *args[2:]),
    ):
        with pytest.raises(RuntimeError, match=f"kernel cannot be used: {reason}"):
            call(model, params, prompts, "kernel")
        with pytest.raises(
            ValueError, match=r"backend must be one of .* got 'kernl' \(did you mean 'kernel'\?\)"
        ):
            call(model, params, prompts, "kernl")


def test_auto_takes_the_kernel_unless_it_is_off(monkeypatch):
    *given, tokens = setting()
    given.append(tokens.gram())
    auto, compiled = measures(*given), measures(*given, "kernel")
    monkeypatch.setenv("LINTF_KERNEL", "off")
    off, plain = measures(*given), measures(*given, "plain")
    bits(auto, compiled)
    bits(off, plain)
    for a, b in zip(auto, off, strict=True):
        assert_near(a, b)
    assert_refused(*given, "LINTF_KERNEL=off")


@pytest.mark.parametrize("case", [nonlinear, softmax, setting])
def test_the_kernel_is_for_statistics(case):
    assert_refused(*case(), "it is for linear transformers on Gram statistics")


def with_threads(call):
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(call())
    finally:
        torch.set_num_threads(before)
    return results


def test_the_bits_do_not_depend_on_threads_or_strides():
    model, params, directions, tokens = setting(L=3, B=2500, lead=(2,))
    gram = tokens.gram()
    results = with_threads(lambda: measures(model, params, directions, gram, "kernel"))
    strided = Gram(
        *(t.mT.contiguous().mT for t in (gram.S, gram.s, gram.x)),
        torch.stack([gram.y] * 2, -1)[:, 1],
        7,
    )
    apart, lines = (
        {n: p.mT.contiguous().mT.requires_grad_() for n, p in t.items()}
        for t in (params, directions)
    )
    bits(*results, measures(model, apart, lines, strided, "kernel"))
    assert not any(
        t.requires_grad for b in BACKENDS for t in measures(model, apart, lines, strided, b)
    )


# ---- gradients and their noise


@pytest.mark.parametrize("of_prompts", [(), (5,), (2, 5), (2, 1)])
@pytest.mark.parametrize("of_params", [(), (5,), (2, 5)])
def test_gradients_of_members(of_params, of_prompts):
    """Leading axes of parameters and prompts broadcast."""
    model, params, _, _ = setting(L=3, lead=of_params)
    tokens, lead = own_prompts(of_prompts), torch.broadcast_shapes(of_params, of_prompts)
    Z, y = tokens.Z.expand(*lead, 23, 8, 4), tokens.y.expand(*lead, 23)
    wide = members({n: p.expand(*lead, 3, 2, 3, 3) for n, p in params.items()}, lead)
    for prompts in (tokens, tokens.gram()):
        found = gradient(model, params, prompts)
        assert found["P"].shape == found["Q"].shape == (*lead, 3, 2, 3, 3)
        for e, its in members(found, lead).items():
            assert_near(
                flat(its), jacobian(loss_of(model, wide[e], Prompts(Z[e], y[e])), flat(wide[e]))
            )


TASKS = {
    setting: LinearRegression(7, 3, noise_std=0.3),
    nonlinear: NonlinearRegression(7, 3, hidden=5),
}


@pytest.mark.parametrize("case", TASKS)
@pytest.mark.parametrize(
    ("B", "draws"), [(11, (4, 2)), (25, (2, 2, 1)), (50, (1, 1)), (60, (1, 1))]
)
def test_the_noise_is_that_of_a_loop(monkeypatch, case, B, draws):
    """Draws of 50 prompts at most, or of one batch."""
    monkeypatch.setattr(landscape, "CHUNK", 50)
    (model, params, *_), task, g, own = case(), TASKS[case], generator(9), generator(9)
    ours = gradient_noise(model, params, task, B, sum(draws), own, reference=120)

    def gradients(size, batches):
        drawn = sample_ensemble([task], size * batches, [g], model.representation, torch.float64)
        for some in (slice(size * i, size * (i + 1)) for i in range(batches)):
            if model.representation == "tokens":
                its = Prompts(drawn.Z[0, some], drawn.y[0, some])
            else:
                its = Gram(
                    *(t[0][..., some] for t in (drawn.S, drawn.s, drawn.x, drawn.y)), drawn.N
                )
            yield jacobian(loss_of(model, params, its), flat(params))

    mean = sum(size / 120 * next(gradients(size, 1)) for size in (50, 50, 20))
    assert_near(
        ours, torch.stack([g_B - mean for batches in draws for g_B in gradients(B, batches)])
    )
    assert torch.equal(own.get_state(), g.get_state())


def test_the_noise_depends_on_the_generator_alone():
    model, params, *_ = setting(L=2)
    args = model, params, TASKS[setting], 5000, 7  # two draws
    first, *others = with_threads(lambda: gradient_noise(*args, generator(), 30_000))
    assert all(torch.equal(first, other) for other in others)
    other = gradient_noise(*args, generator(1), 30_000)
    assert ((first == other) <= (other == 0)).all()  # as the last P's are


def test_the_mean_square_of_the_noise_is_the_covariances_trace():
    """E |g_B - g|^2 = tr Cov / B, with the covariance of single prompts' gradients."""
    model, params, *_ = setting(L=2, H=1, N=3, d=2)
    task = LinearRegression(3, 2, "sphere", noise_std=0.2)
    tokens = task.sample(40_000, generator(5), "tokens", torch.float64)

    def loss(given, Z, y):
        return (model.predict(given, Prompts(Z[None], y[None])) - y).square().mean()

    single = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(params, tokens.Z, tokens.y)
    single = torch.cat([g.flatten(1) for g in single.values()], 1)
    traces = (single - single.mean(0)).square().sum(1)
    for B in (3, 50):
        squares = B * gradient_noise(model, params, task, B, 4000, generator(B)).square().sum(1)
        error = math.sqrt(squares.var() / 4000 + traces.var() / 40_000)
        assert error < 0.1 * traces.mean()
        assert abs(squares.mean() - traces.mean()) < 4 * error


# ---- wrong input


def all_of_them(model, params, directions, prompts):
    for backend in ("auto", *BACKENDS):
        yield lambda b=backend: hessian_diagonal(model, params, prompts, b)
        yield lambda b=backend: directional_derivatives(model, params, directions, prompts, b)
    yield lambda: gradient(model, params, prompts)


FITS, FEWER, WIDER = (4, 2, 3, 3), (3, 2, 3, 3), (4, 2, 5, 5)


@pytest.mark.parametrize(
    "shapes",
    [
        {"Q": FITS}, {"P": FITS, "R": FITS}, {"P": FITS, "Q": FITS, "R": FITS},
        {"P": FEWER, "Q": FEWER}, {"P": WIDER, "Q": WIDER}, {"P": FITS, "Q": (7, *FITS)},
        {"P": (), "Q": ()}, {"P": (3, 3), "Q": FITS},
    ],
    ids=str,
)  # fmt: skip
def test_parameters_of_other_names_or_shapes(shapes):
    model, _, directions, tokens = setting()
    params = {n: torch.zeros(shape, dtype=torch.float64) for n, shape in shapes.items()}
    noise = lambda: gradient_noise(model, params, TASKS[setting], 5, 2, generator())  # noqa: E731
    for call in (*all_of_them(model, params, directions, tokens.gram()), noise):
        with pytest.raises(ValueError, match="do not fit LinearTransformer") as error:
            call()
        assert str(shapes) in str(error.value)


@pytest.mark.parametrize(
    "shapes", [{"P": FITS}, {"P": FITS, "Q": FEWER}, {"P": FITS, "Q": (5, *FITS)}], ids=str
)
def test_directions_have_the_parameters_shapes(shapes):
    model, params, _, tokens = setting()
    wrong = {n: torch.zeros(shape, dtype=torch.float64) for n, shape in shapes.items()}
    for prompts in (tokens, tokens.gram()):
        with pytest.raises(
            ValueError, match="directions must have the parameters' shapes"
        ) as error:
            directional_derivatives(model, params, wrong, prompts)
        assert str(shapes) in str(error.value)


@pytest.mark.parametrize("value", [0, -1, 2.0, None])
@pytest.mark.parametrize("name", ["B", "n", "reference"])
def test_counts_of_the_noise(name, value):
    model, params, *_ = setting()
    with pytest.raises(ValueError, match=f"^{name} must be an integer >= 1, got {value}$"):
        gradient_noise(
            model,
            params,
            TASKS[setting],
            **{"B": 3, "n": 2, "generator": generator()} | {name: value},
        )


@pytest.mark.parametrize("attention", ["relu", "softmax"])
def test_statistics_are_not_enough_for_other_attentions(attention):
    model, params, directions, tokens = setting()
    for call in all_of_them(replace(model, attention=attention), params, directions, tokens.gram()):
        try:
            with pytest.raises(ValueError, match=f"{attention} attention needs tokens"):
                call()
        except RuntimeError:
            pass


@pytest.mark.parametrize("n", [1, 4, 5])
def test_the_noise_is_of_one_member(n):
    model, params, *_ = setting(lead=(5,))
    with pytest.raises(ValueError, match="leading axes"):
        gradient_noise(model, params, TASKS[setting], 11, n, generator(), 50)


@pytest.mark.parametrize("backend", BACKENDS)
def test_directions_may_come_in_another_order(backend):
    model, params, directions, tokens = setting()
    turned = {n: directions[n] for n in ("Q", "P")}
    bits(
        *(
            directional_derivatives(model, params, v, tokens.gram(), backend)
            for v in (directions, turned)
        )
    )


@pytest.mark.parametrize("other", ["d", "dtype", "members"])
def test_prompts_that_do_not_fit_are_named(other):
    model, params, directions, tokens = setting()
    wrong = {
        "d": setting(d=5)[3],
        "dtype": Prompts(tokens.Z.float(), tokens.y.float()),
        "members": own_prompts((2,)),
    }
    for backend in BACKENDS:
        for call in (
            lambda *a: hessian_diagonal(model, params, *a),
            lambda *a: directional_derivatives(model, params, directions, *a),
        ):
            with pytest.raises(
                ValueError, match={"d": "d = 5", "dtype": "dtype", "members": "leading axes"}[other]
            ):
                call(wrong[other].gram(), backend)


def test_gradients_where_autograd_is_off():
    model, params, _, tokens = setting()
    expected = gradient(model, params, tokens)
    with torch.no_grad():
        bits(expected.values(), gradient(model, params, tokens).values())


def test_snapshots_have_one_leading_axis():
    model, params, _, tokens = setting(L=2, lead=(6, 5))
    with pytest.raises(ValueError, match="leading axes"):
        directional_smoothness(model, params, tokens.gram())


# ---- the other models, in tokens, labelled points and sentences

LOOPED = Looped(d=2, width=4, n_head=2, loops=2, supervised_loops=2, positions=9)
OTHERS = {
    "encoder": (Encoder(d=2, width=4, norm=True), ConditionedRegression(4, 2)),
    "encoder of labels": (
        Encoder(d=2, width=4, attention="softmax", mlp=True, readout="w"),
        LogisticRegression(4, 2),
    ),
    "looped": (LOOPED, LinearRegression(4, 2)),
    "looped LSTM": (replace(LOOPED, cell="lstm"), LinearRegression(4, 2)),
    "recall": (
        RecallTransformer("reparam", vocab=6, n_trigger=2),
        Recall(H=6, vocab=6, n_trigger=2, n_output=1),
    ),
    "recall, matrices": (
        RecallTransformer("origin", "softmax", vocab=5, n_trigger=1),
        Recall(H=6, vocab=5, n_trigger=1, n_output=1),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_model(name):
    """Against torch's explicit gradient and Hessian; two members at once."""
    model, task = OTHERS[name]
    g, prompts = generator(), fixed_prompts(task, 1, 5, model.representation, torch.float64)
    params, directions = (
        {
            n: 0.5 * torch.randn(2, *shape, generator=g, dtype=torch.float64)
            for n, shape in model.shapes.items()
        }
        for _ in range(2)
    )
    found, diagonal = gradient(model, params, prompts), hessian_diagonal(model, params, prompts)
    slope, curvature = directional_derivatives(model, params, directions, prompts)[1:]
    noise = gradient_noise(model, {n: p[0] for n, p in params.items()}, task, 3, 2, g, 50)
    assert noise.shape == diagonal.shape
    for e in range(2):
        leaves, v = (torch.cat([p[e].flatten() for p in t.values()]) for t in (params, directions))

        def loss(flat):
            parts = flat.split([p[0].numel() for p in params.values()])
            return model.loss(
                {n: q.view(p.shape[1:]) for (n, p), q in zip(params.items(), parts, strict=True)},
                prompts,
            )

        with sdpa_kernel(SDPBackend.MATH):
            first, second = jacobian(loss, leaves), hessian(loss, leaves)
        exact = {"rtol": 0, "atol": ROUNDING * float(second.abs().max() * v.square().sum())}
        torch.testing.assert_close(
            torch.cat([p[e].flatten() for p in found.values()]), first, **exact
        )
        torch.testing.assert_close(diagonal[e], second.diagonal(), **exact)
        torch.testing.assert_close(slope[e], first @ v, **exact)
        torch.testing.assert_close(curvature[e], v @ second @ v, **exact)


def test_a_gradient_that_stops_has_no_second_derivative():
    model = replace(LOOPED, supervised_loops=1)
    prompts = fixed_prompts(LinearRegression(4, 2), 1, 5, "tokens", torch.float64)
    params = model.init(generator(), torch.float64)
    for measure in (
        hessian_diagonal,
        lambda *args: directional_derivatives(args[0], args[1], *args[1:]),
    ):
        with pytest.raises(
            ValueError, match="supervised_loops must be loops = 2 for second derivatives, got 1"
        ):
            measure(model, params, prompts)
