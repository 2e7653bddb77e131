"""Wrong input: the message names the parameter, its value, and what is allowed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lintf.analysis import isotropic
from lintf.analysis.solvers import GradientDescent, LeastSquares
from lintf.analysis.theory import gradient_descent_weights
from lintf.models import gram
from lintf.models.linear import LinearTransformer
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Prompts
from lintf.tasks.linear import LinearRegression
from lintf.training.fit import TrainConfig, fit

MODEL = LinearTransformer(d=3, n_layer=2)
TASK = LinearRegression(N=4, d=3)
TRAINING = TrainConfig(lr=0.01, max_iters=3, B=5)
NOT_COUNTS = (0, -3, 2.0, 2.5, True, "3", None, math.nan)
nan, inf = math.nan, math.inf


def generator():
    return torch.Generator().manual_seed(0)


def message(call, *said):
    """The ValueError of a call, which says all of this."""
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    for part in said:
        assert str(part) in str(error.value), f"{part!r} is not said in: {error.value}"
    return str(error.value)


def train(**kwargs):
    return lambda: TrainConfig(**{"lr": 0.01, "max_iters": 3, "B": 5} | kwargs)


# ---- words


@pytest.mark.parametrize(
    ("call", "name", "wrong", "allowed", "nearest"),
    [
        (
            lambda v: LinearRegression(mode=v),
            "mode",
            "norml",
            ("normal", "sphere", "gamma"),
            "normal",
        ),
        (
            lambda v: LinearRegression(mode=v),
            "mode",
            "Gamma",
            ("normal", "sphere", "gamma"),
            "gamma",
        ),
        (
            lambda v: LinearTransformer(attention=v),
            "attention",
            "sofmax",
            ("linear", "relu", "softmax"),
            "softmax",
        ),
        (lambda v: train(alg=v)(), "alg", "adamw", ("adam", "sgd", "lbfgs"), "adam"),
        (lambda v: train(alg=v)(), "alg", "lbfg", ("adam", "sgd", "lbfgs"), "lbfgs"),
        (lambda v: train(clip_by=v)(), "clip_by", "matrx", ("global", "matrix"), "matrix"),
        (lambda v: train(dtype=v)(), "dtype", "float23", ("float32", "float64"), "float32"),
        (
            lambda v: TASK.sample(2, generator(), representation=v),
            "representation",
            "token",
            ("tokens", "gram"),
            "tokens",
        ),
        (
            lambda v: gram.mse(*weights(), statistics(), backend=v),
            "backend",
            "kernl",
            ("auto", "kernel", "plain"),
            "kernel",
        ),
    ],
)
def test_an_unknown_word_names_the_allowed_ones(call, name, wrong, allowed, nearest):
    said = message(lambda: call(wrong), name, repr(wrong), *map(repr, allowed))
    assert f"did you mean {nearest!r}?" in said


@pytest.mark.parametrize("value", [None, 3, "", ["adam"], torch.float32])
@pytest.mark.parametrize("name", ["alg", "dtype", "clip_by"])
def test_a_word_of_the_wrong_type(name, value):
    message(train(**{name: value}), f"{name} must be one of", repr(value))


def weights():
    return tuple(MODEL.init(generator()).values())


def statistics():
    return TASK.sample(5, generator())


# ---- whole numbers


@pytest.mark.parametrize("value", NOT_COUNTS)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (LinearRegression, "N"),
        (LinearRegression, "d"),
        (LinearTransformer, "d"),
        (LinearTransformer, "n_layer"),
        (LinearTransformer, "n_head"),
    ],
)
def test_counts_of_model_and_task(make, name, value):
    message(lambda: make(**{name: value}), f"{name} must be an integer >= 1, got {value!r}")


@pytest.mark.parametrize("value", NOT_COUNTS)
@pytest.mark.parametrize(
    "name",
    [
        "max_iters",
        "B",
        "redraw_every",
        "record_every",
        "halve_every",
        "inner_steps",
        "history_size",
    ],
)
def test_counts_of_the_training(name, value):
    if (name, value) == ("halve_every", None):  # means never
        assert train(halve_every=None)().rate(10**6) == 0.01
    elif (name, value) == ("redraw_every", None):  # never again
        assert [train(redraw_every=None)().drawn_at(step) for step in (0, 1, 100)] == [0, 0, 0]
    else:
        message(train(**{name: value}), f"{name} must be an integer >= 1, got {value!r}")


@pytest.mark.parametrize("value", NOT_COUNTS)
def test_batch_size(value):
    message(lambda: TASK.sample(value, generator()), f"B must be an integer >= 1, got {value!r}")


@pytest.mark.parametrize("value", [-1, 1.0, True])
def test_steps_of_gradient_descent(value):
    message(lambda: GradientDescent(value, 0.1), f"steps must be an integer >= 0, got {value!r}")


@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_layers_of_hand_built_weights(value):
    message(
        lambda: gradient_descent_weights(value, 0.1, 4, 3),
        f"n_layer must be an integer >= 1, got {value!r}",
    )


@pytest.mark.parametrize("value", NOT_COUNTS)
def test_sizes_of_the_spectrum(value):
    """Also where a result for an equal number, 2 or 1, is cached."""
    (
        isotropic.optimum(2, 2, 3),
        isotropic.spectrum(1, 3),
        isotropic.spectrum(4, 2),
        isotropic.best_polynomial(2, 4, 3),
    )
    message(lambda: isotropic.spectrum(value, 3), f"N must be an integer >= 1, got {value!r}")
    message(lambda: isotropic.spectrum(4, value), f"d must be an integer >= 1, got {value!r}")
    message(
        lambda: isotropic.best_polynomial(value, 4, 3),
        f"degree must be an integer >= 1, got {value!r}",
    )
    message(lambda: isotropic.optimum(2, value, 3), f"N must be an integer >= 1, got {value!r}")


@pytest.mark.parametrize("value", [0, 5, -1, 2.0, "2", None])
def test_layers_of_the_optimum(value):
    message(
        lambda: isotropic.optimum(value, 4, 3),
        f"n_layer must be an integer from 1 to 4, got {value!r}",
    )


@pytest.mark.parametrize("value", [0, -1, 2.0, None])
def test_steps_of_the_best_gradient_descent(value):
    message(
        lambda: isotropic.best_gradient_descent(value, 4, 3),
        f"steps must be an integer >= 1, got {value!r}",
    )


@pytest.mark.parametrize("value", [1, 5, 2.0, None])
def test_layers_of_the_tied_optimum(value):
    message(
        lambda: isotropic.tied_optimum(value, 4, 3),
        f"n_layer must be an integer from 2 to 4, got {value!r}",
    )


# ---- switches


@pytest.mark.parametrize("value", [0, 1, None, "True", 0.0, np.bool_(True)])
def test_switches(value):
    message(train(integrate=value), f"integrate must be True or False, got {value!r}")
    message(lambda: LinearTransformer(free_P=value), f"free_P must be True or False, got {value!r}")
    message(lambda: LinearTransformer(tied=value), f"tied must be True or False, got {value!r}")


def test_what_lbfgs_cannot_do():
    message(train(alg="lbfgs", clip=0.5), "clip must be None for lbfgs", "0.5")
    assert train(alg="lbfgs")().clip is None


# ---- real numbers


@pytest.mark.parametrize("value", [0, 0.0, -0.01, nan, inf, -inf, "0.1", None, True, 1j])
@pytest.mark.parametrize("name", ["lr", "clip"])
def test_positive_numbers(name, value):
    if (name, value) == ("clip", None):  # means no bound
        assert train(clip=None)().clip is None
    else:
        message(train(**{name: value}), f"{name} must be a finite number > 0, got {value!r}")


@pytest.mark.parametrize("value", [-1e-9, nan, inf, "0", None, True])
def test_numbers_that_are_not_negative(value):
    for call, name in (
        (lambda: LinearRegression(noise_std=value), "noise_std"),
        (lambda: LinearTransformer(init_std=value), "init_std"),
        (lambda: LeastSquares(ridge=value), "ridge"),
        (train(momentum=value), "momentum"),
        (train(betas=(0.9, value)), "betas[1]"),
        (train(betas=(value, 0.9)), "betas[0]"),
    ):
        message(call, f"{name} must be a finite number >= 0, got {value!r}")


@pytest.mark.parametrize("value", [nan, inf, "0.1", None])
def test_step_size_of_gradient_descent(value):
    message(lambda: GradientDescent(2, value), f"eta must be a finite number, got {value!r}")


@pytest.mark.parametrize("value", [1, 1.0, 1.5])
def test_decay_rates_are_below_1(value):
    message(train(betas=(value, 0.9)), f"betas[0] must be < 1, got {value!r}")
    message(train(betas=(0.9, value)), f"betas[1] must be < 1, got {value!r}")
    message(train(momentum=value), f"momentum must be < 1, got {value!r}")


@pytest.mark.parametrize("value", [(), (0.9,), (0.9, 0.9, 0.9), 0.9, None, "ab"])
def test_there_are_two_betas(value):
    message(train(betas=value), "betas", value)


def test_numbers_of_numpy_are_numbers():
    task = LinearRegression(N=np.int64(4), d=np.int32(3), noise_std=np.float64(0.1))
    assert task.sample(np.int64(2), generator(), "tokens").Z.shape == (2, 5, 4)
    assert TrainConfig(lr=np.float32(0.5), max_iters=np.int64(2), B=np.int16(3)).rate(0) == 0.5


# ---- covariances


IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def changed(i, j, value):
    return [
        [value if (a, b) == (i, j) else entry for b, entry in enumerate(row)]
        for a, row in enumerate(IDENTITY)
    ]


@pytest.mark.parametrize("name", ["Sigma", "Sigma_w"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], ("d = 3", "(2, 2)")),
        ([1.0, 1.0, 1.0], ("d = 3", "(3,)")),
        (2.0, ("d = 3", "()")),
        (torch.ones(3, 3, 1), ("d = 3", "(3, 3, 1)")),
        (changed(0, 1, 0.5), ("symmetric", "0.5")),
        (changed(1, 1, nan), ("finite", "nan")),
        (changed(1, 1, inf), ("finite", "inf")),
        (changed(1, 1, -2.0), ("positive definite", "-2.0")),
        (changed(1, 1, 0.0), ("positive definite", "0.0")),
        ("identity", ("identity",)),
        ([[1.0, 0.0], [0.0]], ("must be a",)),
        ([[1.0, "a", 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], ("must be a",)),
    ],
    ids=[
        "2 x 2", "vector", "number", "three axes", "asymmetric", "NaN", "inf", "negative",
        "singular", "word", "ragged", "word inside",
    ],
)  # fmt: skip
def test_covariances(name, value, said):
    message(lambda: LinearRegression(4, 3, **{name: value}), f"{name} must be", *said)


# ---- generators and ensembles


def test_tasks_of_one_ensemble_share_all_but_their_covariances():
    for other in (replace(TASK, N=5), replace(TASK, mode="sphere"), replace(TASK, noise_std=0.1)):
        message(
            lambda other=other: sample_ensemble([TASK, other], 2, [generator()] * 2),
            "Sigma and Sigma_w only",
        )


@pytest.mark.parametrize("representation", ["tokens", "gram"])
@pytest.mark.parametrize(("tasks", "generators"), [(2, 1), (1, 2), (0, 0), (3, 2)])
def test_one_generator_for_each_task(tasks, generators, representation):
    message(
        lambda: sample_ensemble(
            [TASK] * tasks, 2, [generator() for _ in range(generators)], representation
        ),
        "generator",
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.complex64, "float32"])
def test_prompts_come_in_two_precisions(dtype):
    message(lambda: TASK.sample(2, generator(), dtype=dtype), "dtype", dtype, "float32", "float64")


# ---- model and parameters


@pytest.mark.parametrize("attention", ["relu", "softmax", "exp"])
def test_statistics_are_not_enough_for_other_attentions(attention):
    model = replace(MODEL, attention=attention)
    params = model.init(generator())
    for call in (model.predict, model.loss):
        message(lambda call=call: call(params, statistics()), attention, "needs", "tokens")


BAD_SHAPES = {
    "a layer more": ((3, 1, 3, 3), (3, 1, 3, 3)),
    "a head more": ((2, 2, 3, 3), (2, 2, 3, 3)),
    "another d": ((2, 1, 4, 4), (2, 1, 4, 4)),
    "P and Q differ": ((2, 1, 3, 3), (1, 1, 3, 3)),
    "no heads": ((2, 3, 3), (2, 3, 3)),
}


@pytest.mark.parametrize("backend", ["on", "off"])
@pytest.mark.parametrize("representation", ["tokens", "gram"])
@pytest.mark.parametrize("case", BAD_SHAPES)
def test_parameters_of_other_shapes(monkeypatch, case, representation, backend):
    monkeypatch.setenv("LINTF_KERNEL", backend)
    shapes = BAD_SHAPES[case]
    params = {"P": torch.zeros(shapes[0]), "Q": torch.zeros(shapes[1])}
    prompts = TASK.sample(5, generator(), representation)
    for call in (MODEL.predict, MODEL.loss):
        message(lambda call=call: call(params, prompts), *shapes, "do not fit", "n_layer=2")


@pytest.mark.parametrize("backend", ["on", "off"])
@pytest.mark.parametrize("representation", ["tokens", "gram"])
@pytest.mark.parametrize("d", [2, 4])
def test_prompts_of_another_dimension(monkeypatch, representation, d, backend):
    monkeypatch.setenv("LINTF_KERNEL", backend)
    prompts = LinearRegression(4, d).sample(50, generator(), representation)
    for call in (MODEL.predict, MODEL.loss):
        message(lambda call=call: call(MODEL.init(generator()), prompts), "d = 3", f"d = {d}")


@pytest.mark.parametrize("backend", ["plain", "kernel"])
def test_members_of_prompts_and_parameters_must_match(backend):
    """Two members' prompts, three members' parameters."""
    P = torch.zeros(3, 2, 1, 3, 3)
    batch = sample_ensemble([TASK] * 2, 5, [generator(), generator()])
    with pytest.raises((ValueError, RuntimeError), match=r"[23]"):
        gram.mse(P, P, batch, backend)


# ---- fit


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ((), "[]"), ([0, 0], "[0, 0]"), ((3, 1, 3), "[3, 1, 3]"), ([-1], "-1"), ([1, 0.5], "0.5"),
        ([True], "True"), (["0"], "'0'"), ([None], "None"), (3, "3"),
        ([2**64], str(2**64)), ([[0]], "[0]"),
    ],
    ids=str,
)  # fmt: skip
def test_seeds(seeds, said):
    message(
        lambda: fit(MODEL, TASK, TRAINING, seeds, stored=False, progress=False),
        "seeds must be",
        said,
    )


@pytest.mark.parametrize("device", ["gpu", "cuda:7", "cuda0", "", "meta", "CPU", None])
def test_devices_that_are_not_here(device):
    message(
        lambda: fit(MODEL, TASK, TRAINING, device=device, stored=False, progress=False),
        "device must be",
        "cpu",
        repr(device),
    )


def test_cuda_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    message(
        lambda: fit(MODEL, TASK, TRAINING, device="cuda", stored=False, progress=False),
        "device must be 'auto' or one that is here (cpu), got 'cuda'",
    )


@pytest.mark.parametrize("backend", ["on", "off"])
@pytest.mark.parametrize("attention", ["linear", "softmax"])
def test_model_and_task_of_different_dimension(monkeypatch, backend, attention):
    monkeypatch.setenv("LINTF_KERNEL", backend)
    model = LinearTransformer(d=5, attention=attention)
    message(lambda: fit(model, TASK, TRAINING, stored=False, progress=False), "d = 5", "d = 3")


def test_tasks_of_the_seeds_share_all_but_their_covariances():
    message(
        lambda: fit(
            MODEL,
            lambda seed: replace(TASK, N=4 + seed),
            TRAINING,
            (0, 1),
            stored=False,
            progress=False,
        ),
        "Sigma and Sigma_w only",
    )


def test_wrong_input_is_found_before_anything_is_trained(runs):
    with pytest.raises(ValueError, match="device"):
        fit(MODEL, TASK, TRAINING, device="gpu", progress=False)
    with pytest.raises(ValueError, match="seeds"):
        fit(MODEL, TASK, TRAINING, (), progress=False)
    assert not runs.exists()


def test_an_unknown_parameter_is_refused_by_python():
    for call in (
        lambda: LinearTransformer(n_layers=3),
        lambda: LinearRegression(sigma=None),
        lambda: TrainConfig(lr=0.1, max_iters=3, B=5, beta=0.9),
    ):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            call()


def test_settings_cannot_be_changed_behind_the_checks():
    for settings, name in ((MODEL, "d"), (TASK, "N"), (TRAINING, "lr")):
        with pytest.raises(AttributeError):
            setattr(settings, name, -1)


def test_tokens_fit_where_statistics_fit():
    """The counterpart of the refusals above: the same call with what is right."""
    tokens = TASK.sample(5, generator(), "tokens")
    assert isinstance(tokens, Prompts)
    assert replace(MODEL, attention="softmax").loss(MODEL.init(generator()), tokens).isfinite()
    assert MODEL.loss(MODEL.init(generator()), statistics()).isfinite()
